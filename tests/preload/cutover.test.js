// Swapping one process for another under load of every kind: not one request may fail.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { setTimeout: pause } = require('node:timers/promises');
const { perNode, withAgent, keepAlive, Raw, request } = require('./helpers.js');

const SWAPS = 3;
const BODY = 'b'.repeat(20000);

// Each kind: one exchange that throws when it fails. State lives in the closure.
const KINDS = {
  'keep-alive': (port) => {
    const pool = keepAlive();
    return async () => expect(await request({ port, path: '/pid', agent: pool }), /^\d+$/);
  },
  'POST': (port) => {
    const agent = keepAlive();
    return async () => {
      const { text } = await request({ port, path: '/echo', method: 'POST', agent }, BODY);
      assert.equal(text, BODY);
    };
  },
  'new connection each': (port) => async () => {
    expect(await request({ port, path: '/pid', agent: false }), /^\d+$/);
  },
  'slow 500 ms': (port) => {
    const pool = keepAlive();
    return async () => expect(await request({ port, path: '/slow?ms=500', agent: pool }), /^slow$/);
  },
  'idle 1.5 s': (port) => {
    const pool = keepAlive();
    return async (stopped) => {
      expect(await request({ port, path: '/pid', agent: pool }), /^\d+$/);
      await Promise.race([pause(1500), stopped]);
    };
  },
  'stream': (port) => {
    const pool = keepAlive();
    return async () => {
      const answer = await request({ port, path: '/stream?ms=300', agent: pool });
      expect(answer, /^chunk 10\n[^]*chunk 1\nend$/);
    };
  },
  'pipelined': (port) => {
    let raw = null;
    let asked = 0;
    return async () => {
      if (raw === null || raw.last) {
        raw = new Raw(port);
        asked = 0;
      }
      const one = 'GET /pid HTTP/1.1\r\nHost: app\r\n\r\n';
      raw.socket.write(one + one + one);
      asked += 3;
      await raw.responses(asked);
      raw.last = /^connection: close/im.test(raw.text);
    };
  },
};

function expect({ status, text }, pattern) {
  assert.equal(status, 200);
  assert.match(text, pattern);
}

function load(port, tally, stop) {
  return Object.entries(KINDS).flatMap(([kind, start]) => [0, 1].map(async () => {
    const exchange = start(port);
    while (!stop.signal.aborted) {
      try {
        await exchange(stop.promise);
        tally.sent[kind] = (tally.sent[kind] || 0) + 1;
      } catch (error) {
        tally.failed.push(`${kind}: ${error.stack}`);
        return;
      }
      await pause(2); // leaves the two cores to the processes under test
    }
  }));
}

perNode('cutover', ({ binary }) => {
  test(`${SWAPS} swaps under load, none fails`, () => withAgent(async (agent) => {
    const stop = new AbortController();
    stop.promise = new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
    const tally = { sent: {}, failed: [] };
    let old = await agent.serving(binary, 'plain.js');
    const clients = load(agent.port, tally, stop);
    for (let i = 0; i < SWAPS; i++) {
      await old.stats((sum) => sum.requests > 20 && sum.last.in_flight > 2);
      const fresh = await agent.serving(binary, 'plain.js');
      const { cut, websockets } = await old.bleed(20000);
      assert.deepEqual({ cut, websockets }, { cut: 0, websockets: 0 });
      old.child.kill('SIGTERM');
      assert.equal((await old.exit).signal, 'SIGTERM');
      old = fresh;
    }
    await old.stats((sum) => sum.requests > 20);
    stop.abort();
    await Promise.all(clients);
    assert.deepEqual(tally.failed, []);
    for (const kind of Object.keys(KINDS)) assert.ok(tally.sent[kind] > 0, `nothing sent: ${kind}`);
  }));
});
