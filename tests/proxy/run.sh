#!/usr/bin/env bash
# What `make proxy` runs: finds the proxies and the servers behind them, then runs the program.
#
#     proxy/run.sh FOLDER       with the programs proxy and mtwscat
#
# PYTHON and NODE may name interpreters. Anything missing is a failure, and what to install is said.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=$1

give_up() {
    printf '%s\n' "$@" '0 passed, 1 failed'
    exit 1
}

PATH=$PATH:/usr/sbin
missing=
for pair in tinyproxy:tinyproxy squid:squid microsocks:microsocks danted:dante-server; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] || give_up 'proxies are missing' "on Debian: apt-get install$missing"

PYTHON=${PYTHON:-/usr/bin/python3}
"$PYTHON" -c 'import websockets.legacy.server' 2>/dev/null ||
    give_up "$PYTHON has no module websockets" 'on Debian: apt-get install python3-websockets'
NODE=${NODE:-node}
command -v "$NODE" >/dev/null || give_up 'there is no node' 'on Debian: apt-get install nodejs npm'
if ! "$NODE" -p 'require("ws/package.json").version' >/dev/null 2>&1; then
    command -v npm >/dev/null || give_up 'there is no npm' 'on Debian: apt-get install npm'
    npm install --no-package-lock --no-audit --no-fund --loglevel=error ||
        give_up 'npm could not install ws'
fi
export PATH PYTHON NODE
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY
MTWSCAT=$folder/mtwscat timeout 540 "$folder/proxy" "${@:2}"
