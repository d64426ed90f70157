// For measuring: the least an app can do. Without the preload it takes fd 3 itself.
'use strict';

const server = require('http').createServer((req, res) => res.end('hello'));
server.keepAliveTimeout = 75000;
server.listen(process.env.BARE ? { fd: 3 } : process.env.PORT);
