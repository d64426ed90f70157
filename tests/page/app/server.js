// The shop that the page is looked at with: answers after a while, fails now and then, and blocks its
// event loop once in a while. Nothing in it knows groundcrew.
'use strict';
const http = require('node:http');

const slowMs = Number(process.env.APP_SLOW_MS || 4);
const errors = Number(process.env.APP_ERRORS || 0);
if (process.env.APP_THROWS) throw new Error(process.env.APP_THROWS);

http.createServer((request, response) => {
  if (request.url === '/health') return response.end('ok\n');
  if (Math.random() < 0.002) for (const end = Date.now() + 12; Date.now() < end;);
  response.statusCode = Math.random() < errors ? 500 : 200;
  const ms = slowMs * (0.5 + Math.random()) * (Math.random() < 0.02 ? 6 : 1);
  return setTimeout(() => response.end('an answer\n'), ms);
}).listen(process.env.PORT);
