import { createServer } from 'node:http';

createServer((req, res) => res.end(JSON.stringify({ framework: 'esm' }))).listen({
  port: process.env.PORT, host: '127.0.0.1',
});
