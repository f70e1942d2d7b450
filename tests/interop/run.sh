#!/usr/bin/env bash
# What `make interop` runs: finds or installs the servers, runs the programs, sums their counts.
#
#     interop/run.sh FOLDER       with the programs interop, restart and mtwscat
#
# PYTHON and NODE may name interpreters. Anything missing is a failure, and what to install is said.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=$1
passed=0
failed=0

give_up() {
    printf '%s\n' "$@" '0 passed, 1 failed'
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import websockets.legacy.server' 2>/dev/null || continue
        PYTHON=$candidate
        return
    done
    give_up 'no python3 has the module websockets' 'on Debian: apt-get install python3-websockets'
}

find_ws() {
    local wanted
    NODE=${NODE:-node}
    command -v "$NODE" >/dev/null ||
        give_up 'there is no node' 'on Debian: apt-get install nodejs npm'
    wanted=$(sed -n 's/.*"ws": "\(.*\)".*/\1/p' package.json)
    [ "$("$NODE" -p 'require("ws/package.json").version' 2>/dev/null)" = "$wanted" ] && return
    command -v npm >/dev/null || give_up 'there is no npm' 'on Debian: apt-get install npm'
    npm install --no-package-lock --no-audit --no-fund --loglevel=error ||
        give_up "npm could not install ws $wanted"
}

# COMMAND...: a program that ends with its summary line.
run() {
    local status=0 line
    timeout 300 "$@" >"$folder/log" 2>&1 || status=$?
    cat "$folder/log"
    line=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/log" | tail -n 1)
    passed=$((passed + ${line%% *} + 0))
    failed=$((failed + ${line##* } + 0))
    if [ $status -ne 0 ] && [ "${line##* }" = 0 ] || [ -z "$line" ]; then
        echo "$1 ended with status $status"
        failed=$((failed + 1))
    fi
}

find_python
find_ws
export PYTHON NODE
echo "python3-websockets $("$PYTHON" -c 'import websockets.version as v; print(v.version)')," \
    "ws $("$NODE" -p 'require("ws/package.json").version')"
for program in "$folder/interop" "$folder/restart" "interop/mtwscat.sh $folder/mtwscat"; do
    echo "== $program"
    # The last has an argument, and is meant to be split.
    # shellcheck disable=SC2086
    run $program
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
