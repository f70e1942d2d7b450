'use strict';
// What users of npm ws have today, under the same kills: reconnecting-websocket.
//
//     node peer.js URL
//
// Commands and output are client.c's, as far as this library can tell: "connected" and "end SENT".
const readline = require('readline');
const ReconnectingWebSocket = require('reconnecting-websocket');
const WebSocket = require('ws');

const socket = new ReconnectingWebSocket(process.argv[2], [], {
    WebSocket,
    minReconnectionDelay: 250,
    maxReconnectionDelay: 400,
    reconnectionDelayGrowFactor: 1.5,
    connectionTimeout: 2000,
});
let sent = 0;

function message(number) {
    let size = 8 + (number * 37) % 400;
    if (number % 64 === 0) size = 20000;
    if (number % 512 === 0) size = 100000;
    const cycle = 'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(size / 26) + 1);
    return `${number} ` + cycle.slice(number % 26, (number % 26) + size);
}

function finish() {
    if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > 0) {
        setTimeout(finish, 20);
        return;
    }
    console.log(`end ${sent}`);
}

socket.addEventListener('open', () => console.log('connected'));
socket.addEventListener('error', () => {});
const commands = readline.createInterface({ input: process.stdin });
commands.on('line', (line) => {
    const [verb, count] = line.split(' ');
    if (verb === 'finish') finish();
    else for (let i = 0; i < Number(count); i++) socket.send(message(++sent));
});
commands.on('close', () => process.exit());
