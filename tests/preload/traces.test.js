// Requests that are noted for X-Ray, on every Node: which, and what of them.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const http2 = require('node:http2');
const { once } = require('node:events');
const path = require('node:path');
const { perNode, withAgent, keepAlive, Raw, request, within } = require('./helpers.js');

const ROOT = '1-5759e988-bd862e3fe1be46a994272793';
const TRACED = { GROUNDCREW_TRACES: '1000000' };
// Below a share of half by their last digits, and above.
const LOW = '1-5759e988-bd862e3fe1be46a910000000';
// Sampled by whatever share there is.
const CHOSEN = '1-5759e988-bd862e3fe1be46a900000000';
const HIGH = '1-5759e988-bd862e3fe1be46a9f0000000';

// All notes so far once there are as many as wanted.
async function noted(one, wanted) {
  const all = () => one.messages.filter(({ type }) => type === 'traces')
    .flatMap(({ requests }) => requests);
  if (all().length < wanted) await one.next('traces', () => all().length >= wanted);
  assert.equal(all().length, wanted);
  return all();
}

function certificate(dir) {
  const files = { KEY: path.join(dir, 'key.pem'), CERT: path.join(dir, 'cert.pem') };
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
    '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', files.KEY, '-out', files.CERT],
  { stdio: 'ignore' });
  return files;
}

// Long enough for a line that must not come: a busy process says one each second.
const nothing = async (one) => {
  for (let i = 0; i < 2; i++) await one.next('stats');
  assert.equal(one.messages.some(({ type }) => type === 'traces'), false);
};

perNode('traces', ({ binary }) => {
  const serving = (agent, app, traces) => agent.serving(binary, app, { env: traces || TRACED });

  test('a request with all that is wanted of it', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js');
    const headers = {
      'X-Amzn-Trace-Id': `Root=${ROOT};Parent=53995c3f42cd8ad8;Sampled=1`, host: 'shop.example.com',
      'x-forwarded-for': '10.0.0.1, 203.0.113.9', 'x-forwarded-proto': 'https',
      'user-agent': 'curl/8.5.0',
    };
    const before = Date.now();
    const asked = '/slow?ms=100&token=secret';
    await request({ port: agent.port, path: asked, headers, agent: false });
    const [{ us, ended_ms: ended, ...note }] = await noted(one, 1);
    assert.deepEqual(note, {
      trace: headers['X-Amzn-Trace-Id'], method: 'GET', path: '/slow', host: 'shop.example.com',
      https: true, ip: '203.0.113.9', agent: 'curl/8.5.0', status: 200,
    });
    assert.ok(us >= 95000 && us < 20e6 && Number.isInteger(us), `${us} us`);
    assert.ok(ended >= before + 95 && ended <= Date.now());
  }));

  test('keep-alive, pipelined, HEAD, and errors', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js');
    const raw = new Raw(agent.port);
    const get = (path) => `GET ${path} HTTP/1.1\r\nHost: app\r\n\r\n`;
    raw.socket.write(get('/slow?ms=200') + get('/') + get('/slow?ms=1'));
    await raw.responses(3);
    raw.get('/#fragment');
    await raw.responses(4);
    const notes = await noted(one, 4);
    assert.deepEqual(notes.map(({ path }) => path), ['/slow', '/', '/slow', '/']);
    assert.ok(notes[0].us >= 195000);
    assert.ok(notes.every(({ trace, status }) => trace === undefined && status === 200));
    raw.socket.destroy();
  }));

  test('a client that does not wait', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js');
    const raw = new Raw(agent.port);
    raw.get('/slow?ms=5000&say');
    await one.printed('slow begun');
    raw.socket.destroy();
    const [note] = await noted(one, 1);
    assert.equal(note.status, 0);
    assert.equal(note.path, '/slow');
  }));

  test('who chooses ids that are sampled gets three times the share', () => withAgent(
    async (agent) => {
      const one = await serving(agent, 'plain.js', { GROUNDCREW_TRACES: '10000' });
      const pool = keepAlive();
      for (let i = 0; i < 300; i++) {
        await request({
          port: agent.port, path: '/', agent: pool, headers: { 'x-amzn-trace-id': `Root=${CHOSEN}` },
        });
      }
      // The first finds no room for more credit, and the last third of one is not enough.
      await noted(one, 20 + 300 * 0.03 - 1);
      pool.destroy();
      await one.bleed(1000);
      await noted(one, 20 + 300 * 0.03 - 1);
    },
  ));

  test('the share is taken by the id, and the flag is followed where wanted', () => withAgent(
    async (agent) => {
      const half = await serving(agent, 'plain.js', { GROUNDCREW_TRACES: '500000' });
      const pool = keepAlive();
      const ask = (trace) => request({
        port: agent.port, path: '/', agent: pool, headers: { 'x-amzn-trace-id': trace },
      });
      for (let i = 0; i < 10; i++) {
        await ask(`Self=${HIGH};Root=${LOW};Sampled=0`);
        await ask(`Root=${HIGH};Sampled=1`);
      }
      const notes = await noted(half, 10);
      assert.ok(notes.every(({ trace }) => trace.includes(LOW)));
      pool.destroy();
      await half.bleed(1000);

      const follow = await serving(agent, 'plain.js', { GROUNDCREW_TRACES: '500000 follow' });
      const asked = [`Root=${LOW};Sampled=0`, `Root=${HIGH};Sampled=1`, `Root=${LOW};Sampled=?`,
        `Root=${HIGH}`];
      for (const trace of asked) {
        await request({
          port: agent.port, path: '/', agent: false, headers: { 'x-amzn-trace-id': trace },
        });
      }
      const followed = await noted(follow, 2);
      assert.deepEqual(followed.map(({ trace }) => trace), [asked[1], asked[2]]);
    },
  ));

  test('nothing is noted unless it is wanted', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js', { GROUNDCREW_TRACES: '0 follow' });
    const headers = { 'x-amzn-trace-id': `Root=${ROOT}` };
    await request({ port: agent.port, path: '/', headers, agent: false });
    await nothing(one);
  }));

  test('headers that nobody should send', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js');
    const odd = [
      'Root=', `Root=${'f'.repeat(7000)}`, 'Root=1-', 'Sampled=', '\xe9\xff;;==',
      `Root=1-${'"'.repeat(99)}`,
    ];
    for (const trace of odd) {
      const raw = new Raw(agent.port);
      raw.socket.write(Buffer.from(`GET /${'%E9'.repeat(1000)} HTTP/1.1\r\nHost: app\r\n`
        + `X-Amzn-Trace-Id: ${trace}\r\nX-Forwarded-For: ${','.repeat(999)}\r\n`
        + `User-Agent: ${'\xe9"'.repeat(1000)}\r\nConnection: close\r\n\r\n`, 'latin1'));
      await within(raw.closed, 'end of the connection');
      assert.match(raw.text, /^HTTP\/1.1 200/);
    }
    for (const note of await noted(one, odd.length)) {
      assert.ok(JSON.stringify(note).length < 4000);
      assert.ok((note.trace || '').length <= 512 && note.path.length <= 500 && note.ip === '');
    }
  }));

  test('a flood is counted, and the line stays within its bound', () => withAgent(async (agent) => {
    const one = await serving(agent, 'trivial.js');
    const raw = new Raw(agent.port);
    const long = `/${'x'.repeat(600)}`;
    const all = 2000;
    for (let i = 0; i < all / 100; i++) {
      raw.socket.write(`GET ${long} HTTP/1.1\r\nHost: app\r\n\r\n`.repeat(100));
    }
    await raw.responses(all);
    const lines = () => one.messages.filter(({ type }) => type === 'traces');
    const told = () => lines().reduce((sum, line) => sum + line.dropped + line.requests.length, 0);
    if (told() < all) await one.next('traces', () => told() >= all);
    assert.equal(told(), all);
    for (const line of lines()) {
      assert.ok(line.requests.length <= 16 && JSON.stringify(line).length < 64 * 1024);
    }
    assert.ok(lines().some(({ dropped }) => dropped > 0));
    raw.socket.destroy();
  }));

  test('streams of HTTP/2', () => withAgent(async (agent) => {
    const env = { ...TRACED, ...certificate(agent.dir), HTTP2: '1' };
    const one = await agent.serving(binary, 'https.js', { env });
    const where = `https://127.0.0.1:${agent.port}`;
    const session = http2.connect(where, { rejectUnauthorized: false });
    const headers = { ':path': '/two?x=1', 'x-amzn-trace-id': `Root=${ROOT}` };
    const stream = session.request(headers);
    stream.resume();
    await within(once(stream, 'close'), 'end of the stream');
    const [note] = await noted(one, 1);
    assert.equal(note.path, '/two');
    assert.equal(note.method, 'GET');
    assert.equal(note.trace, `Root=${ROOT}`);
    assert.equal(note.status, 200);
    assert.equal(note.host, `127.0.0.1:${agent.port}`);
    session.close();
  }));

  test('what waits is told at a bleed', () => withAgent(async (agent) => {
    const one = await serving(agent, 'plain.js');
    await request({ port: agent.port, path: '/', agent: false });
    const notes = noted(one, 1);
    await one.bleed(1000);
    assert.equal((await notes).length, 1);
  }));
});
