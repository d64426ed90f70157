// The example web application of the end-to-end tests. Plain http, and nothing in it knows
// groundcrew. What it does wrong, it does because an APP_* variable says so.
//
//   APP_BOOT     throw | hang | elsewhere | exit-after:MS   what goes wrong at the start
//   APP_HEALTH   ok | fail | hang               what /health answers; a file (APP_CONTROL) is stronger
//   APP_CONTROL  path of a JSON file, read on each request: {"health": ..., "errors": 0.5}
//   APP_ERRORS   share of requests answered with 500, such as 0.5
//   APP_SIGTERM  default | graceful | exit | ignore         what SIGTERM does
//   APP_START_MS how long the start takes
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const { env } = process;
const release = readVersion();
const processName = env.GROUNDCREW_PROCESS || String(process.pid);
const leaked = [];

function readVersion() {
  try {
    return fs.readFileSync(path.join(__dirname, 'VERSION'), 'utf8').trim();
  } catch {
    return 'none';
  }
}

function control() {
  const said = { health: env.APP_HEALTH || 'ok', errors: Number(env.APP_ERRORS || 0) };
  if (!env.APP_CONTROL) return said;
  try {
    return { ...said, ...JSON.parse(fs.readFileSync(env.APP_CONTROL, 'utf8')) };
  } catch {
    return said; // No file, or one that is just being written.
  }
}

function send(response, status, body, type = 'text/plain') {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'X-Release': release,
    'X-Process': processName,
  });
  response.end(body);
}

const routes = {
  // The body holds what was asked for, so that a swapped or truncated answer is noticed.
  '/': (request, response, url) => send(response, 200, `ok ${url.searchParams.get('id')}\n`),
  '/version': (request, response) => {
    const document = { release, process: processName, pid: process.pid };
    send(response, 200, JSON.stringify(document), 'application/json');
  },
  '/health': (request, response) => {
    const { health } = control();
    if (health === 'hang') return;
    send(response, health === 'ok' ? 200 : 503, `${health}\n`);
  },
  '/echo': (request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => send(response, 200, Buffer.concat(parts)));
  },
  '/slow': (request, response, url) => {
    const id = url.searchParams.get('id');
    setTimeout(() => send(response, 200, `ok ${id}\n`), Number(url.searchParams.get('ms') || 500));
  },
  '/stream': (request, response, url) => stream(response, Number(url.searchParams.get('kb') || 64)),
  // What a pipeline waits for (docs/pipelines/ci/wait).
  '/release': (request, response) => send(response, 200, `${env.GROUNDCREW_RELEASE}\n`),
  '/error': (request, response) => send(response, 500, 'error\n'),
  '/crash': () => {
    throw new Error('asked to crash');
  },
  '/exit': (request, response, url) => process.exit(Number(url.searchParams.get('code') || 0)),
  '/block': (request, response, url) => {
    const end = Date.now() + Number(url.searchParams.get('ms') || 1000);
    while (Date.now() < end);
    send(response, 200, 'ok\n');
  },
  '/leak': (request, response, url) => {
    leaked.push(Buffer.alloc(Number(url.searchParams.get('mb') || 16) << 20, 1));
    send(response, 200, `${leaked.length}\n`);
  },
  '/print': (request, response, url) => {
    console.log(url.searchParams.get('line'));
    send(response, 200, 'ok\n');
  },
};

function stream(response, kilobytes) {
  response.writeHead(200, { 'X-Release': release, 'X-Process': processName });
  let left = kilobytes;
  const more = () => {
    while (left > 0) {
      left -= 1;
      if (!response.write('x'.repeat(1023) + '\n')) return response.once('drain', more);
    }
    return response.end();
  };
  more();
}

function answer(request, response) {
  // Outside a try: an exception of a route is an uncaught one, as in a real handler.
  const url = new URL(request.url, 'http://localhost');
  const { errors } = control();
  if (errors > 0 && url.pathname !== '/health' && Math.random() < errors) {
    return send(response, 500, 'error\n');
  }
  const route = routes[url.pathname];
  return route ? route(request, response, url) : send(response, 404, 'no such page\n');
}

// WebSocket echo, as small as RFC 6455 allows for unfragmented frames under 64 KiB.
function upgrade(request, socket) {
  const key = request.headers['sec-websocket-key'];
  if (new URL(request.url, 'http://localhost').pathname !== '/ws' || !key) return socket.destroy();
  const accept = crypto.createHash('sha1')
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\nX-Release: ${release}\r\nX-Process: ${processName}\r\n\r\n`);
  let pending = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (data) => {
    pending = Buffer.concat([pending, data]);
    for (let frame = takeFrame(); frame; frame = takeFrame()) echo(frame);
  });
  function takeFrame() {
    if (pending.length < 2) return null;
    let length = pending[1] & 0x7f;
    let at = 2;
    if (length === 126) {
      if (pending.length < 4) return null;
      length = pending.readUInt16BE(2);
      at = 4;
    }
    if (pending.length < at + 4 + length) return null;
    const mask = pending.subarray(at, at + 4);
    const payload = Buffer.from(pending.subarray(at + 4, at + 4 + length));
    for (let i = 0; i < length; i += 1) payload[i] ^= mask[i & 3];
    const opcode = pending[0] & 0x0f;
    pending = pending.subarray(at + 4 + length);
    return { opcode, payload };
  }
  function echo({ opcode, payload }) {
    const { length } = payload;
    const head = length < 126
      ? Buffer.from([0x80 | opcode, length])
      : Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff]);
    socket.write(Buffer.concat([head, payload]));
    if (opcode === 8) socket.end();
  }
}

function onSigterm(server) {
  const ways = {
    graceful: () => server.close(() => process.exit(0)),
    exit: () => process.exit(0),
    ignore: () => {},
  };
  const way = ways[env.APP_SIGTERM];
  if (way) process.on('SIGTERM', way);
}

function main() {
  const [boot, argument] = (env.APP_BOOT || 'ok').split(':');
  if (boot === 'throw') throw new Error('thrown at boot');
  if (boot === 'hang') return setInterval(() => {}, 1000);
  if (boot === 'exit-after') setTimeout(() => process.exit(1), Number(argument));
  const server = http.createServer(answer);
  server.on('upgrade', upgrade);
  onSigterm(server);
  const port = Number(env.PORT) + (boot === 'elsewhere' ? 1 : 0);
  const listen = () => server.listen(port, () => {
    console.log(`release ${release} process ${processName} listens on ${server.address().port}`);
  });
  return env.APP_START_MS ? setTimeout(listen, Number(env.APP_START_MS)) : listen();
}

main();
