'use strict';
// A server on npm ws that writes each message into a ledger, within its "message" event.
//
//     node server.js PORT LEDGER
//
// ws looks at the next frame after the event's listeners have returned, and a record is with the
// kernel when writeSync returns: so a Pong says that the ledger has all that came before, and
// kill -9 takes none of it back. Records are of 16 bytes, so that none crosses a page.
const fs = require('fs');
const { WebSocketServer } = require('ws');

const ledger = fs.openSync(process.argv[3], 'a');

function writeDown(message) {
    let sum = 0;
    for (const byte of message) sum += byte;
    const number = String(parseInt(message.toString('latin1', 0, 20), 10));
    const record = `${number.padStart(8)} ${String(sum % 1000000).padStart(6)}\n`;
    fs.writeSync(ledger, record);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });
server.on('connection', (connection) => {
    connection.on('error', () => {});
    connection.on('message', writeDown);
});
server.on('listening', () => fs.writeSync(1, 'ready\n'));
