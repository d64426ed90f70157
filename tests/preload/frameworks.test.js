// The same app, unmodified, in every framework and protocol: probed, accepting, bled, drained.
'use strict';

const { test, before } = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { CACHE } = require('./agent.js');
const { perNode, withAgent, keepAlive, request, within, Raw } = require('./helpers.js');

const tls = fs.mkdtempSync(path.join(os.tmpdir(), 'groundcrew-preload-tls-'));
const env = { KEY: path.join(tls, 'key.pem'), CERT: path.join(tls, 'cert.pem') };

before(() => {
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
    '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', env.KEY, '-out', env.CERT],
  { stdio: 'ignore' });
  process.on('exit', () => fs.rmSync(tls, { recursive: true }));
});

perNode('frameworks', ({ binary }) => {
  // Starts it, asks on a kept connection, bleeds, asks again on it: that is the last response.
  const serves = (app, text, options) => withAgent(async (agent) => {
    const one = agent.spawn(binary, app, options);
    await one.listening();
    assert.match((await one.probe()).text, text);
    await one.accept();
    const pool = keepAlive();
    const first = await request({ port: agent.port, path: '/', agent: pool });
    assert.match(first.text, text);
    assert.notEqual(first.headers.connection, 'close');
    const drained = one.bleed(10000);
    const last = await request({ port: agent.port, path: '/', agent: pool });
    assert.match(last.text, text);
    if (last.headers.connection !== 'close') {
      // It overtook the bleed.
      await request({ port: agent.port, path: '/', agent: pool });
    }
    const { cut, websockets } = await drained;
    assert.deepEqual({ cut, websockets }, { cut: 0, websockets: 0 });
    one.child.kill('SIGTERM');
    await one.exit;
  }, { stderr: /^$/ });

  test('express', () => serves('express.js', /"express"/));
  test('fastify', () => serves('fastify.js', /"fastify"/));
  test('fastify on localhost', () => serves('fastify-localhost.js', /"fastify"/));
  test('koa', () => serves('koa.js', /"koa"/));
  test('ES modules', () => serves('esm.mjs', /"esm"/));
  test('Next.js production server', () => serves(
    [binary, path.join(CACHE, 'node_modules/next/dist/bin/next'), 'start'],
    /<p id="pid">\d+/, { cwd: process.env.GROUNDCREW_NEXT }));

  test('https', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'https.js', { env });
    const pool = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
    const get = () => within(new Promise((resolve, reject) => {
      https.get({ port: agent.port, host: '127.0.0.1', agent: pool }, (response) => {
        response.resume().on('end', () => resolve(response.headers.connection));
      }).on('error', reject);
    }), 'https answer');
    assert.equal(await get(), 'keep-alive');
    await one.stats((sum) => sum.requests === 1 && sum.last.connections === 1);
    const drained = one.bleed(10000);
    while (await get() !== 'close');
    assert.equal((await drained).cut, 0);
  }));

  test('http2: streams under way are answered, then the session closes', () =>
    withAgent(async (agent) => {
      const one = await agent.serving(binary, 'https.js', { env: { ...env, HTTP2: '1' } });
      const where = `https://127.0.0.1:${agent.port}`;
      const session = http2.connect(where, { rejectUnauthorized: false });
      const closed = once(session, 'close');
      const get = async () => {
        const stream = session.request({ ':path': '/' });
        stream.setEncoding('utf8').end();
        let text = '';
        for await (const chunk of stream) text += chunk;
        return text;
      };
      assert.deepEqual(await Promise.all([get(), get()]), ['HTTP/2.0', 'HTTP/2.0']);
      const pending = get();
      await one.stats((sum) => sum.requests >= 2);
      const drained = one.bleed(10000);
      assert.equal(await pending, 'HTTP/2.0');
      await within(closed, 'close of the session');
      assert.equal((await drained).cut, 0);
    }));

  test('net: half-open connections as the app wants them, closed at the deadline', () =>
    withAgent(async (agent) => {
      const one = await agent.serving(binary, 'net.js');
      const half = net.connect(agent.port, '127.0.0.1').setEncoding('utf8');
      half.end('ping ');
      let text = '';
      for await (const chunk of half) text += chunk;
      assert.equal(text, 'ping bye');
      const open = new Raw(agent.port);
      open.socket.write('ping');
      await open.until((seen) => seen === 'ping');
      assert.deepEqual(await one.bleed(100), { type: 'drained', cut: 0, websockets: 1 });
      await within(open.closed, 'close at the deadline');
    }));

  test('ws: a WebSocket lives until the deadline', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'ws.js');
    const WebSocket = require(path.join(CACHE, 'node_modules/ws'));
    const socket = new WebSocket(`ws://127.0.0.1:${agent.port}`);
    const closed = once(socket, 'close');
    await within(once(socket, 'open'), 'open');
    const echo = async (text) => {
      socket.send(text);
      assert.equal(String((await within(once(socket, 'message'), 'echo'))[0]), text);
    };
    await echo('before');
    await one.stats((sum) => sum.last.websockets === 1 && sum.last.in_flight === 0);
    const drained = one.bleed(600);
    await echo('during');
    assert.deepEqual(await drained, { type: 'drained', cut: 0, websockets: 1 });
    await within(closed, 'close at the deadline');
  }));
});
