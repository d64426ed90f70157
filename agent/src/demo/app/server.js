// The demo's shop: plain http, no packages, and no word about groundcrew.
'use strict';
const http = require('node:http');
const { release, fault } = require('./release.json');

if (fault === 'throws') throw new Error('the catalogue is missing');

const startsAfterMs = fault === 'slow' ? 1000 : 0;
const fallsIllAfterMs = fault === 'falls ill' ? 500 : Infinity;
let firstOrder = Infinity; // when, in milliseconds

const server = http.createServer((request, response) => {
  if (request.url === '/health') {
    response.statusCode = Date.now() - firstOrder > fallsIllAfterMs ? 503 : 200;
    response.end();
    return;
  }
  firstOrder = Math.min(firstOrder, Date.now());
  let received = 0;
  request.on('data', (bytes) => { received += bytes.length; });
  request.on('end', () => response.end(JSON.stringify({ release, received })));
});

setTimeout(() => server.listen(process.env.PORT), startsAfterMs);
