#!/usr/bin/env bash
# What `make tls` runs: makes the certificates, runs the programs and the servers, sums the counts.
#
#     tls/run.sh FOLDER [WORD]        with the programs cert, session, client, openssl and mtwscat
#                                     in FOLDER; of the servers' tests those whose names contain WORD
#
# Anything missing is a failure, and what to install is said.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=$1
word=${2:-}
passed=0
failed=0

missing=
for need in openssl:openssl nginx:nginx-light stunnel4:stunnel4 haproxy:haproxy; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${need%:*}" >/dev/null || missing="$missing ${need#*:}"
done
for candidate in "${PYTHON:-}" /usr/bin/python3 python3; do
    [ -n "$candidate" ] && "$candidate" -c 'import websockets.legacy.server' 2>/dev/null && break
    candidate=
done
[ -n "$candidate" ] || missing="$missing python3-websockets"
if [ -n "$missing" ]; then
    printf '%s\n' "on Debian: apt-get install$missing" '0 passed, 1 failed'
    exit 1
fi
export PYTHON=$candidate PATH=$PATH:/usr/sbin:/sbin PKI=$PWD/$folder/pki PYTHONDONTWRITEBYTECODE=1

# COMMAND...: a program that ends with its summary line.
run() {
    local status=0 line
    timeout "${LIMIT:-500}" "$@" >"$folder/log" 2>&1 || status=$?
    cat "$folder/log"
    line=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/log" | tail -n 1)
    passed=$((passed + ${line%% *} + 0))
    failed=$((failed + ${line##* } + 0))
    if [ $status -ne 0 ] && [ "${line##* }" = 0 ] || [ -z "$line" ]; then
        echo "$1 ended with status $status"
        failed=$((failed + 1))
    fi
}

if ! tls/pki.sh "$PKI"; then
    printf '%s\n' 'the certificates could not be made' '0 passed, 1 failed'
    exit 1
fi
nginx -v 2>&1
haproxy -v | head -n 1
openssl version
if [ -z "$word" ]; then
    for program in cert session; do
        echo "== $program"
        run "$folder/$program"
    done
fi
echo '== servers'
run "$PYTHON" tls/servers.py "$folder" "$PKI" "$word"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
