#!/usr/bin/env bash
# examples/mtwscat as a person would use it, against the servers of this folder.
#
#     interop/mtwscat.sh MTWSCAT      from the folder tests; PYTHON and NODE name the interpreters
#
# Prints each failure, and at the end "N passed, N failed".
set -u
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY # mtwscat would go through them

mtwscat=$1
folder=$(mktemp -d)
passed=0
failed=0
server_pid=
port=0

clean_up() {
    stop_server KILL
    rm -rf "$folder"
}

# A port that nobody takes while its server is away: it lies below those that the system gives to
# whoever asks for any.
free_port() {
    port=$((20000 + RANDOM % 12000))
    while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
}

# KIND: starts a server on the port of the last one, if any; waits until it listens.
start_server() {
    [ $port -ne 0 ] || free_port
    : >"$folder/server"
    local command=("${PYTHON:-/usr/bin/python3}" interop/server.py)
    [ "$1" = python ] || command=("${NODE:-node}" interop/server.js)
    "${command[@]}" "$port" "$folder/ledger" >"$folder/server" 2>"$folder/server.errors" &
    server_pid=$!
    for _ in $(seq 200); do
        grep -q '^port ' "$folder/server" && break
        sleep 0.1
    done
    url="ws://127.0.0.1:$port"
    grep -q '^port ' "$folder/server" || { echo "the $1 server did not start"; cat "$folder/server.errors"; exit 1; }
}

stop_server() {
    [ -n "$server_pid" ] || return
    kill -s "$1" "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
}

# Runs mtwscat with these arguments: status, and the files out and err.
cat_with() {
    timeout 60 "$mtwscat" "$@" >"$folder/out" 2>"$folder/err"
    status=$?
}

# NAME CONDITION...: one test; the condition is a command.
is() {
    local name=$1
    shift
    if "$@" >"$folder/why" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED  mtwscat, $kind: $name"
        head -n 5 "$folder/why" "$folder/err"
    fi
}

messages() {
    seq 1 2000 | sed 's/$/ h\xc3\xa9llo/' >"$folder/in"
    cat_with -q -n 2000 "$url/echo" <"$folder/in"
    is 'lines: exit status' [ $status -eq 0 ]
    is 'lines: come back' cmp "$folder/in" "$folder/out"
    is 'lines: nothing else is said' [ ! -s "$folder/err" ]

    head -c 3000 /dev/urandom | tr '\n' x >"$folder/in"
    cat_with -q -b -n 1 "$url/echo" <"$folder/in"
    is 'binary: exit status' [ $status -eq 0 ]
    is 'binary: comes back' cmp "$folder/in" "$folder/out"

    head -c 1000000 /dev/zero | tr '\0' y >"$folder/in"
    echo >>"$folder/in"
    cat_with -q -n 1 "$url/fragments?size=70000" <"$folder/in"
    is 'a long line: exit status' [ $status -eq 0 ]
    is 'a long line: comes back' cmp "$folder/in" "$folder/out"
}

upgrades() {
    cat_with -q -n 1 -H 'X-Cat: purrs' -p 'name=a b' "$url/headers" </dev/null
    is 'header' grep -qx 'x-cat: purrs' "$folder/out"
    is 'parameter' grep -qx '/headers?name=a%20b' "$folder/out"
    cat_with -q -s 'chat, superchat' "$url/echo?cat" </dev/null
    is 'subprotocol' grep -q '^open [0-9]* /echo?cat superchat -$' "$folder/server"
    cat_with -q -n 1 "ws://user:p%40ss@127.0.0.1:$port/private" <<<'let me in'
    is 'userinfo: exit status' [ $status -eq 0 ]
    cat_with -q "ws://user:s3cr3t@127.0.0.1:$port/private" <<<'let me in'
    is 'wrong userinfo: exit status' [ $status -eq 1 ]
    is 'wrong userinfo: is told' grep -q 401 "$folder/err"
    is 'wrong userinfo: stays secret' bash -c "! grep -q s3cr3t '$folder/err'"
    cat_with -q --no-reconnect "$url/status?code=503" </dev/null
    is '503 without another attempt: exit status' [ $status -eq 1 ]
    cat_with -n 1 --no-reconnect "$url/close/4001/" </dev/null
    is 'a close is told once' [ "$(grep -c 'closed with 4001' "$folder/err")" -eq 1 ]
    is 'and in one way' grep -qx 'mtwscat: disconnected: the server closed with 4001' "$folder/err"
    cat_with -n 1 --no-reconnect "$url/close/4001/over" </dev/null
    is 'a close is told with its reason' \
        grep -qx 'mtwscat: disconnected: the server closed with 4001: over' "$folder/err"
    cat_with -q -t 0.5 "$url/hang" </dev/null
    is 'silence: exit status' [ $status -eq 1 ]
}

# KIND: lines flow slowly while the server is killed three times.
restarts() {
    : >"$folder/ledger"
    seq 1 1500 >"$folder/in"
    while read -r line; do
        echo "$line"
        [ $((line % 25)) -ne 0 ] || sleep 0.05
    done <"$folder/in" |
        timeout 60 "$mtwscat" -q --delay 250 "$url/ledger" >"$folder/out" 2>"$folder/err" &
    local cat_pid=$!
    for _ in 1 2 3; do
        sleep 0.6
        stop_server KILL
        start_server "$1"
    done
    wait $cat_pid
    status=$?
    is 'restarts: exit status' [ $status -eq 0 ]
    awk '!seen[$0]++' "$folder/ledger" >"$folder/first"
    is 'restarts: everything arrived, in order' cmp "$folder/in" "$folder/first"
}

trap clean_up EXIT
for kind in python ws; do
    port=0
    start_server $kind
    messages
    upgrades
    restarts $kind
    stop_server KILL
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
