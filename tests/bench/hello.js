// The app of the throughput benchmark: as little as a Node server can do, so that what stands around
// it shows.
'use strict';

const http = require('node:http');

http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 3 });
  response.end('ok\n');
}).listen(Number(process.env.PORT), () => console.log('listens'));
