// The app of most tests: plain http, no thought given to sockets, shutdown or groundcrew.
'use strict';

const http = require('http');

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://app');
  const ms = Number(url.searchParams.get('ms') || 0);
  const routes = {
    '/pid': () => res.end(String(process.pid)),
    '/slow': () => {
      if (url.searchParams.has('say')) console.log('slow begun');
      setTimeout(() => res.end('slow'), ms);
    },
    '/status': () => {
      res.statusCode = Number(url.searchParams.get('code'));
      res.end();
    },
    '/echo': () => req.pipe(res),
    '/proxied': () => {
      // As http-proxy does: the upstream's header is repeated.
      res.writeHead(200, { Connection: 'keep-alive', 'Keep-Alive': 'timeout=9' });
      res.end('proxied');
    },
    '/stream': () => {
      let left = 10;
      const timer = setInterval(() => {
        res.write(`chunk ${left}\n`);
        if (--left > 0) return;
        clearInterval(timer);
        res.end('end');
      }, ms / 10);
    },
    '/hang': () => console.log('hanging'),
    '/throw': () => setTimeout(() => {
      throw new TypeError('thrown on purpose');
    }),
    '/reject': () => {
      Promise.reject(new RangeError('rejected on purpose'));
    },
    '/throw-text': () => setTimeout(() => {
      throw 'a text';
    }),
  };
  (routes[url.pathname] || (() => res.end('hello')))();
});

if (process.env.HANDLER) {
  process.on('SIGTERM', () => {
    console.log('SIGTERM');
    if (process.env.HANDLER === 'exit') process.exit(3);
    server.close((error) => {
      console.log(`closed ${error || 'well'}`);
      process.exit(4);
    });
  });
}

server.listen(process.env.PORT, () => console.log(JSON.stringify(server.address())));
