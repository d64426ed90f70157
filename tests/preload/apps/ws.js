'use strict';

const http = require('http');
const { WebSocketServer } = require('ws');

const server = http.createServer((req, res) => res.end('hello'));
const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => socket.on('message', (text) => socket.send(`${text}`)));
server.listen(process.env.PORT);
