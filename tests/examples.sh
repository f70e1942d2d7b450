#!/usr/bin/env bash
# What `make examples` runs: builds every example as its Makefile does, with warnings as errors, and
# runs each against a server that is killed or cuts connections meanwhile. About half a minute.
#
#     examples.sh [NAME...]       only these: medtranslate login gameloop many ...
#
# Nothing is installed; what is missing is said, and fails. CC, CXX, PYTHON and BUILD may be given.
# Prints a line for each check, and at the end "N passed, N failed".
set -u
cd "$(dirname "$0")" || exit 1
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY # mtwscat would go through them
tests=$PWD
: "${CC:=cc}" "${CXX:=c++}" "${PYTHON:=python3}" "${BUILD:=build}"
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Werror'
c_warnings="$warnings -Wstrict-prototypes -Wmissing-prototypes"
all='quickstart mtwscat demo medtranslate login outbox gameloop epoll many threads embedded cpp libuv python'
names=${*:-$all}
targets=${*:+chaos_server ${*/#demo/demo_client}}
targets=${targets:-all cpp libuv python}

case $BUILD in /*) ;; *) BUILD=$tests/$BUILD ;; esac
work=$BUILD/examples
bin=$work/bin # a copy of the folder examples, so that each build is a fresh one
rm -rf "$work"
mkdir -p "$bin"

# ---- what every test is made of ----------------------------------------------------------------

# Only what this shell has started, and what still runs of it.
end_children() {
    local pids
    pids=$(jobs -p)
    [ -z "$pids" ] || kill $pids 2>/dev/null
    wait 2>/dev/null
}
trap end_children EXIT
trap 'exit 1' INT TERM

# NAME COMMAND...: one check. What the programs said is shown with the first that fails.
check() {
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then
        echo "ok    $test: $name"
    else
        echo "FAIL  $test: $name"
        [ -e shown ] || tail -n 30 out err server 2>/dev/null | sed 's/^/      | /'
        : >shown
    fi
}

# COMMAND...: waits, for 15 seconds at most, until it succeeds.
until_true() {
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

has() { grep -q -e "$2" "$1"; }
lacks() { ! grep -q -e "$2" "$1"; }
count_is_at_least() { [ "$(grep -c -e "$2" "$1")" -ge "$3" ]; }

# COMMAND...: in the background, no longer than 40 seconds; its output in the files out and err.
launch() {
    timeout -k 10 40 "$@" <&0 >out 2>err 3>&- &
    program=$!
}

# STATUS: waits for what launch began, and compares its exit status.
ended_with() {
    wait "$program"
    local status=$?
    [ "$status" -eq "$1" ] || echo "ended with status $status" >>err
    [ "$status" -eq "$1" ]
}

# A port that nobody takes while its server is away: it lies below those that the system gives to
# whoever asks for any, and no two tests (there are fewer than 16) can choose the same.
free_port() {
    port=$((20000 + RANDOM % 500 * 16 + number))
    while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 16)); done
}

# COMMAND...: a server, on the port of the one before it, if any; waits until it listens.
serve() {
    [ -n "${port:-}" ] || free_port
    : >server
    "$@" --port "$port" --lifetime 50 >server 2>>server_errors 3>&- &
    server=$!
    until_true has server '^listening on'
    url=ws://127.0.0.1:$port/
}

chaos() { serve "$bin/chaos_server" -q --ledger ledger "$@"; }
python_server() { serve "$PYTHON" "$tests/examples/server.py" "$1" --token token --ledger ledger; }

kill_server() {
    kill -9 "$server"
    wait "$server" 2>/dev/null
}

# At once: timeout passes SIGTERM on, and the program has no handler for it.
kill_program() {
    kill "$program"
    wait "$program" 2>/dev/null
}

# SECONDS: of CPU time that all that has ended used, servers too. A program that spins uses more.
used_at_most() {
    times >used
    tail -n 1 used | tr 'ms' '  ' | awk -v most="$1" '{ exit $1 * 60 + $2 + $3 * 60 + $4 > most }'
}

whole_ledger() { cat ledger; }
payloads() { cut -d ' ' -f 4- ledger; } # of chaos_server's

# COMMAND FILE: the command prints the lines of FILE in order, and no others; some may come again.
in_order() { "$1" | awk '!seen[$0]++' | cmp - "$2"; }

# ---- a test for each example -------------------------------------------------------------------

test_quickstart() {
    chaos
    launch "$bin/quickstart" "$url"
    check 'greets the server, and hears it' until_true has out '^received hello'
    kill_server
    chaos
    check 'and again, when it is back' until_true count_is_at_least out '^received hello' 2
}

test_mtwscat() {
    chaos --cut-after 20000 --refuse-for 0.3 --connections-faulty 2
    seq 5000 >lines
    timeout 40 "$bin/mtwscat" "$url" <lines >out 2>err
    check 'ends well' [ $? -eq 0 ]
    check 'nothing is lost, or out of order' in_order payloads lines
}

test_demo() {
    timeout 45 make -s -C "$bin" demo >out 2>err
    check 'ends well' [ $? -eq 0 ]
    check 'loses nothing' has out 'Nothing was lost'
}

test_medtranslate() {
    echo secret >token
    python_server translate
    mkfifo input
    exec 3<>input # for writing alone it would wait for the reader
    MEDTRANSLATE_TOKEN=secret launch "$bin/medtranslate" "${url}translate" 'ward 7' <input
    check 'names the session' until_true has out 'session: .*"ward 7"'
    check 'has a handler for other types' until_true has out '^other: .*motd'
    echo 'Where does it hurt?' >&3
    check 'translates' until_true has out '"id": 1, "text": "WHERE DOES IT HURT?"'
    echo untranslatable >&3
    check 'has a handler for errors' until_true has out '^SERVER ERROR: .*"id": 2'
    check 'sends heartbeats' until_true count_is_at_least server '^heartbeat' 2
    kill_server
    check 'says that it reconnects' until_true has err '^\[reconnecting\].*again in'
    printf '%s\n' '"Quotes", \ and a	tab' 'Où avez-vous mal ?' >&3
    check 'says that a line is queued' until_true has err '^#4 queued'
    python_server translate
    check 'delivers it later' until_true has err '^#4 delivered'
    exec 3>&-
    check 'ends well' ended_with 0
    check 'marks each line once' [ "$(grep -c '^#. delivered' err)" -eq 4 ]
    printf '%s\n' '1 Where does it hurt?' '2 untranslatable' '3 "Quotes", \\ and a\ttab' \
        '4 O\xf9 avez-vous mal ?' >expected
    check 'each line came, in order' in_order whole_ledger expected
    check 'keeps heartbeats to itself' lacks out heartbeat

    printf 'from a pipe\nwithout a newline' >lines
    MEDTRANSLATE_TOKEN=secret timeout 20 "$bin/medtranslate" "$url" 8 <lines >out 2>err
    check 'ends with its input' [ $? -eq 0 ]
    check 'and has waited for the answers' has out 'WITHOUT A NEWLINE'
    seq 12000 >lines
    MEDTRANSLATE_TOKEN=secret timeout 20 "$bin/medtranslate" "$url" 8 <lines >out 2>err
    check 'sends more lines than the queue takes' [ "$(grep -c 'delivered$' err)" -eq 12000 ]
    check 'and gets as many answers' [ "$(grep -c '^translation' out)" -eq 12000 ]
    MEDTRANSLATE_TOKEN=wrong timeout 20 "$bin/medtranslate" "$url" 8 <lines >out 2>err
    check 'ends with 1 where the token is refused' [ $? -eq 1 ]
    check 'and says so' has err '^\[failed\].*401'
    check 'and does not show it' lacks err wrong
}

test_login() {
    echo first >token
    cp token mine
    python_server login
    launch "$bin/login" "$url" mine 20
    check 'reports once it is logged in' until_true has ledger '^3$'
    kill_server
    echo second >token
    python_server login
    check 'ends its attempts when its token is refused' until_true has out '^failed.*401'
    sleep 1
    echo second >mine
    check 'goes on with a fresh one' until_true count_is_at_least out '^logged in' 2
    kill_server
    echo third >token
    cp token mine
    python_server login
    check 'ends well' ended_with 0
    seq 20 >expected
    check 'each reading came, in order, after a login' in_order whole_ledger expected
    check 'says so' has out '^20 readings sent, 0 lost, 0 left'
    check 'asks no more often than it has to' [ "$(grep -c '^failed' out)" -le 2 ]
}

test_outbox() {
    free_port
    mkfifo input
    exec 3<>input
    launch "$bin/outbox" box "ws://127.0.0.1:$port/" <input
    printf '%s\n' one two three >&3
    check 'writes down what is typed without a server' until_true has box '^+3 three$'
    printf 'caf\xe9\n' >&3
    check 'refuses what is not UTF-8' until_true has out '^refused caf'
    kill_program
    printf '+4 half of a li' >>box # it was killed while it wrote
    chaos
    launch "$bin/outbox" box "$url" <input
    check 'sends it after a restart' until_true has out '^delivered 3 three'
    kill_server
    printf '%s\n' four five >&3
    check 'goes on without a server' until_true has box '^+5 five$'
    kill_program
    chaos --cut-after 20000 --connections-faulty 1
    exec 3>&-
    seq 6 5000 | sed 's/$/ words of a sentence/' >lines
    launch "$bin/outbox" box "$url" <lines
    check 'ends well' ended_with 0
    { printf '%s\n' '1 one' '2 two' '3 three' '4 four' '5 five'; awk '{ print NR + 5, $0 }' lines; } \
        >expected
    check 'each sentence came, in order' in_order payloads expected
    check 'nothing is left' has out '^0 left in box'
    launch "$bin/outbox" box "$url" </dev/null
    check 'nor sent again' ended_with 0
    check 'and the file is short' [ "$(cat box)" = -5000 ]
    head -c 9000 /dev/zero | tr '\0' x >other
    cp other foreign
    launch "$bin/outbox" foreign "$url" </dev/null
    check 'ends with 1 at a file of another kind' ended_with 1
    check 'and leaves it' cmp foreign other
}

test_gameloop() {
    chaos
    launch "$bin/gameloop" "$url" 14
    check 'plays' until_true has out '^  2 s'
    kill_server
    check 'goes on without a server' until_true has out ' 0 inputs sent, 60 missed'
    chaos
    check 'ends well' ended_with 0
    check 'plays again when it is back' [ "$(answers_in_the_last_second)" -ge 20 ]
    check 'never waits for the network' [ "$(least_of_the_longest_polls)" -lt 5 ]
}

# Of the seconds' longest polls, in ms: other programs may hold one up, but hardly one in each second.
least_of_the_longest_polls() { sed -n 's/.*poll <= \([0-9]*\).*/\1/p' out | sort -n | head -n 1; }
answers_in_the_last_second() { sed -n 's/^ 14 s.* \([0-9]*\) answers.*/\1/p' out; }

test_epoll() {
    chaos
    launch "$bin/epoll" 40 "$url" "$url" # eight seconds, of which the server is away for some
    check 'both hear' until_true count_is_at_least out '^received tick' 4
    kill_server
    check 'notice that the server is gone' until_true count_is_at_least out '^reconnecting' 2
    chaos
    check 'end well' ended_with 0
    check 'everything is delivered' [ "$(grep -c '^delivered 40' out)" -eq 2 ]
    kill_server
    check 'do not spin' used_at_most 2
}

test_many() {
    chaos
    launch "$bin/many" "$url" 300 24
    check 'connects all' until_true has out ' 300 connected'
    kill_server
    check 'notices that the server is gone' until_true has out ' 0 connected, 300 times'
    chaos
    check 'connects all again' until_true has out ' 300 connected, 6[0-9]* times'
    check 'ends well' ended_with 0
    kill_server
    check 'does not spin' used_at_most 6
}

test_threads() {
    chaos --cut-after 400000 --refuse-for 0.2 --connections-faulty 3
    launch "$bin/threads" "$url" 20000
    check 'ends well' ended_with 0
    check 'delivers everything' has out '^60000 sent, 60000 delivered, 0 dropped'
    check 'was cut three times' [ "$(grep -c '^connected' out)" -eq 4 ]
    check 'each producer is heard, in order' each_producer_is_heard
}

# Of each message its first arrival follows that of the one before it.
each_producer_is_heard() {
    awk '$7 > last[$5] { if ($7 != last[$5] + 1) exit 1; last[$5] = $7 }
         END { exit !(last[0] == 20000 && last[1] == 20000 && last[2] == 20000) }' ledger
}

test_embedded() {
    chaos
    launch "$bin/embedded" "$url" 14
    check 'says what memory it has' until_true has out '^[0-9]* bytes, of which .* use [0-9]*$'
    check 'reports' until_true has ledger 'reading 5$'
    kill_server
    sleep 3.5
    chaos
    check 'ends well' ended_with 0
    check 'drops what is oldest when the queue is full' has out ' [1-9][0-9]* dropped, 0 left'
    check 'delivers as much as it says' delivers_what_it_says
}

delivers_what_it_says() {
    local said
    said=$(sed -n 's/.* \([0-9]*\) delivered.*/\1/p' out)
    [ "$(payloads | sort -u | wc -l)" -ge "$said" ] && [ "$said" -ge 30 ]
}

test_cpp() {
    chaos --cut-after 60 --connections-faulty 1
    timeout 40 "$bin/cpp" "$url" one 'two "quoted"' three >out 2>err
    check 'ends well' [ $? -eq 0 ]
    check 'was cut' has out '^reconnecting'
    check 'hears its messages' has out '"text":"two \\"quoted\\""'
    timeout 40 "$bin/cpp" "http://127.0.0.1/" one >out 2>err
    check 'turns an error into an exception' has err 'mtws_connect: '
}

test_libuv() {
    chaos
    launch "$bin/libuv" "$url"
    check 'delivers' until_true has out '^delivered 2'
    kill_server
    check 'notices that the server is gone' until_true has out '^reconnecting'
    chaos
    check 'delivers again' until_true has out '^delivered 5'
    check 'hears' has out '^received tick 5'
    kill -INT "$program"
    check 'ends at a signal' ended_with 0
    kill_server
    check 'does not spin' used_at_most 2
    check 'gracefully' [ "$(tail -n 1 out)" = 'disconnected ' ]
}

test_python() {
    chaos --cut-after 300 --connections-faulty 1
    launch "$PYTHON" -B "$bin/python_ctypes.py" "$url" 50
    check 'ends well' ended_with 0
    check 'was cut' has out '^reconnecting'
    check 'delivers everything' has out '^50 sent, 50 delivered'
    $CC -I"$work" -o layout "$tests/examples/layout.c" && ./layout >of_c
    "$PYTHON" "$tests/examples/layout.py" "$bin" >of_python
    check 'mirrors mtws_event' cmp of_c of_python
    check 'all of it' [ "$(wc -l <of_c)" -eq 18 ]
}

# ---- all of them -------------------------------------------------------------------------------

missing() {
    local tool
    for tool in "$CC" "$CXX" "$PYTHON" make timeout mkfifo awk cmp; do
        command -v "${tool%% *}" >/dev/null && continue
        case $tool in
        "$CC") echo "$tool is missing: install a C compiler" ;;
        "$CXX") echo "$tool is missing: install a C++ compiler (Debian: apt install g++)" ;;
        "$PYTHON") echo "$tool is missing: install Python 3 (Debian: apt install python3)" ;;
        *) echo "$tool is missing (Debian: apt install make coreutils mawk diffutils)" ;;
        esac
    done
}

# A heartbeat of medtranslate's is due after 0.4 s, so that a short test sees some.
build() {
    cp ../mtws.h "$work/" && cp ../examples/*.* ../examples/Makefile "$bin/" || return
    rm -f "$bin/libmtws.so" "$bin/libmtws.c"
    make -k -j2 -C "$bin" CC="$CC" CXX="$CXX" CPPFLAGS=-DHEARTBEAT_MS=400 \
        CFLAGS="-std=c99 -O0 $c_warnings" CXXFLAGS="-std=c++11 -O0 $warnings" \
        $targets
}

lacking=$(missing)
if [ -n "$lacking" ]; then
    printf '%s\n' "$lacking" '0 passed, 1 failed'
    exit 1
fi
test=build
{
    check 'all of them' eval 'build >"$work/make.log" 2>&1'
    [ -e shown ] && cat "$work/make.log"
    rm -f shown
} >"$work/build.result"

number=0
for test in $names; do
    number=$((number + 1))
    mkdir "$work/$test"
    (
        trap end_children EXIT
        trap 'exit 1' INT TERM
        cd "$work/$test" && "test_$test"
    ) >"$work/$test.result" 2>"$work/$test.errors" &
done
wait
for test in build $names; do cat "$work/$test.result" "$work/$test.errors" 2>/dev/null; done
passed=$(cat "$work"/*.result | grep -c '^ok ')
failed=$(cat "$work"/*.result | grep -c '^FAIL ')
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
