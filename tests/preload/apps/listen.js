// Calls listen in the way named by its argument.
'use strict';

const http = require('http');
const { once } = require('events');

const port = process.env.PORT;
const server = http.createServer((req, res) => res.end('hello'));
const up = (how) => {
  console.log(`up ${how} ${server.listening} ${JSON.stringify(server.address())}`);
};
const ways = {
  number: () => server.listen(Number(port), () => up('number')),
  text: () => server.listen(port, () => up('text')),
  host: () => server.listen(port, '127.0.0.1', () => up('host')),
  backlog: () => server.listen(port, '127.0.0.1', 100, () => up('backlog')),
  undefined: () => server.listen(port, undefined, undefined, () => up('undefined')),
  options: () => server.listen({ port, host: 'localhost', backlog: 5, exclusive: true },
    () => up('options')),
  event: () => server.listen(port).on('listening', () => up('event')),
  once: async () => {
    server.listen(port);
    await once(server, 'listening');
    up('once');
  },
  signal: () => {
    const controller = new AbortController();
    server.on('close', () => console.log('aborted'));
    server.listen({ port, signal: controller.signal }, () => {
      up('signal');
      process.on('SIGUSR2', () => controller.abort());
    });
  },
  other: () => server.listen(0, '127.0.0.1', () => up('other')),
  twice: () => {
    server.listen(port, () => up('twice'));
    try {
      server.listen(port);
    } catch (error) {
      console.log(error.code);
    }
  },
  reopen: () => server.listen(port, () => server.close(() => {
    console.log(`closed ${server.address()}`);
    server.listen(port, () => up('reopen'));
  })),
  timeouts: () => {
    const set = http.createServer({ keepAliveTimeout: 1000, headersTimeout: 2000 });
    server.listen(port, () => {
      set.listen(0, () => {
        console.log(`ours ${server.keepAliveTimeout} ${server.headersTimeout}`);
        console.log(`up set ${set.keepAliveTimeout} ${set.headersTimeout}`);
        set.close();
      });
    });
  },
  set: () => {
    server.keepAliveTimeout = 1000;
    server.headersTimeout = 2000;
    server.listen(port, () => {
      console.log(`up set ${server.keepAliveTimeout} ${server.headersTimeout}`);
    });
  },
  // Its event loop must end by itself, with the channel open.
  nothing: () => console.log('up nothing'),
  unref: () => server.listen(port, () => {
    server.unref();
    console.log('up unref');
  }),
  cluster: () => {
    const cluster = require('cluster');
    if (cluster.isPrimary) cluster.fork().on('exit', (code) => console.log(`up worker ${code}`));
    else server.on('error', ({ code }) => process.exit(code === 'EADDRINUSE' ? 9 : 1)).listen(port);
  },
};
ways[process.argv[2]]();
