'use strict';
// The server of server.py, on ws: its first lines say what both do. SIGTERM closes with 1012 here.
const fs = require('fs');
const http = require('http');
const { WebSocketServer } = require('ws');

const SUBPROTOCOLS = ['superchat', 'chat'];
const PRIVATE = 'Basic ' + Buffer.from('user:p@ss').toString('base64');
const ledger = process.argv.length > 3 ? fs.openSync(process.argv[3], 'a') : -1;
const counts = new Map();
let opened = 0;

const say = (text) => fs.writeSync(1, text + '\n');
const writeDown = (message) => fs.writeSync(ledger, message + '\n');

function count(url) {
    counts.set(url, (counts.get(url) || 0) + 1);
    return counts.get(url);
}

function refuse(socket, code, query) {
    const lines = [`HTTP/1.1 ${code} ${http.STATUS_CODES[code]}`, 'Connection: close'];
    if (code >= 300 && code < 400) lines.push('Location: /echo');
    if (query.has('retry')) lines.push('Retry-After: ' + query.get('retry'));
    socket.end(lines.join('\r\n') + '\r\n\r\nrefused\n');
}

// True where the upgrade is not to go on.
function refused(request, socket, name, query) {
    if (name === '/hang') return true;
    let code = 0;
    if (name === '/status') code = Number(query.get('code'));
    if (name === '/busy' && count('busy ' + request.url) <= Number(query.get('count'))) code = 503;
    if (name === '/private' && request.headers.authorization !== PRIVATE) code = 401;
    if (code !== 0) refuse(socket, code, query);
    return code !== 0;
}

function sendFragments(connection, message, binary, size) {
    for (let start = 0; start === 0 || start < message.length; start += size) {
        connection.ping();
        const fin = start + size >= message.length;
        connection.send(message.subarray(start, start + size), { binary, fin });
    }
}

function sendHeaders(connection, request) {
    const lines = [request.url];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
        lines.push(request.rawHeaders[i].toLowerCase() + ': ' + request.rawHeaders[i + 1]);
    }
    connection.send(lines.join('\n'));
}

function take(connection, name, query, message, binary) {
    switch (name) {
    case '/fragments': sendFragments(connection, message, binary, Number(query.get('size'))); break;
    case '/ping': connection.ping(message); break;
    case '/ledger': writeDown(message); break;
    case '/program': writeDown(message); connection.send(message, { binary }); break;
    default: connection.send(message, { binary });
    }
}

function open(connection, request, name, query) {
    const number = ++opened;
    const extensions = connection.extensions || '-';
    say(`open ${number} ${request.url} ${connection.protocol || '-'} ${extensions}`);
    connection.on('error', () => {});
    connection.on('close', (code, reason) => say(`closed ${number} ${code} ${reason}`));
    connection.on('pong', (payload) => {
        if (name === '/ping') connection.send('pong ' + payload);
    });
    connection.on('message', (message, binary) => take(connection, name, query, message, binary));
    if (name === '/headers') sendHeaders(connection, request);
    if (name === '/greet') connection.send('welcome');
    const close = name.match('^/close/(.*)/(.*)');
    if (close !== null) connection.close(Number(close[1]), close[2]);
    if (name === '/drop' && count(request.url) <= Number(query.get('count'))) {
        setImmediate(() => connection.terminate()); // not before the answer to the upgrade has left
    }
}

const websockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    maxPayload: 0,
    handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) || false,
});
const server = http.createServer();

server.on('upgrade', (request, socket, head) => {
    const url = new URL(request.url, 'http://localhost');
    socket.on('error', () => {});
    if (refused(request, socket, url.pathname, url.searchParams)) return;
    // What is written until this turn ends leaves in one packet.
    socket.cork();
    websockets.handleUpgrade(request, socket, head, (connection) => {
        open(connection, request, url.pathname, url.searchParams);
    });
    process.nextTick(() => socket.uncork());
});
process.on('SIGTERM', () => {
    server.close();
    for (const connection of websockets.clients) connection.close(1012, 'restarting');
    setTimeout(() => process.exit(0), 100);
});
server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
    say('port ' + server.address().port);
});
