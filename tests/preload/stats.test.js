// What a process says of itself each second, on every Node.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { perNode, withAgent, keepAlive, request } = require('./helpers.js');

// The bounds of a bucket, in microseconds.
const upper = (bucket) => 2 ** (bucket / 40);

perNode('stats', ({ binary }) => {
  test('latencies are exact to two in a hundred, their sum is', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'plain.js');
    for (let i = 0; i < 5; i++) {
      await request({ port: agent.port, path: '/slow?ms=200', agent: false });
    }
    await one.stats(({ requests }) => requests === 5);
    let sum = 0;
    let least = 0;
    let most = 0;
    for (const stats of one.messages.filter(({ type }) => type === 'stats')) {
      assert.equal(stats.scale, 40);
      sum += stats.latency_sum_us;
      for (const [bucket, n] of stats.latency) {
        assert.ok(bucket >= 0 && bucket <= 1440 && Number.isInteger(bucket), bucket);
        least += upper(bucket - 1) * n;
        most += upper(bucket) * n;
      }
    }
    assert.ok(sum >= 5 * 195000 && sum < 5 * 2000000, `${sum} us`);
    assert.ok(least <= sum + 5 && sum <= most + 5, `${least} <= ${sum} <= ${most}`);
    assert.ok(most / least < 1.02);
  }));

  test('all processes of a host report at the same moment', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'plain.js');
    const pool = keepAlive();
    await request({ port: agent.port, path: '/', agent: pool });
    const past = [];
    while (past.length < 4) {
      await one.next('stats');
      past.push(Date.now() % 1000);
    }
    // A loaded machine makes some late, and none early.
    assert.ok(Math.min(...past) < 100, `${past} ms past the second`);
    pool.destroy();
  }));

  test('garbage collections are counted by kind', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'garbage.js');
    await request({ port: agent.port, path: '/', agent: false });
    const seen = (kind) => one.messages.some(({ type, gc }) => type === 'stats' && gc[kind]);
    await one.next('stats', () => seen('minor') && seen('major'));
    for (const { gc } of one.messages.filter(({ type }) => type === 'stats')) {
      for (const [kind, { pairs, sum_us: sum }] of Object.entries(gc)) {
        assert.ok(['minor', 'major', 'incremental', 'weakcb'].includes(kind), kind);
        const most = pairs.reduce((all, [bucket, n]) => all + upper(bucket) * n, 0);
        assert.ok(pairs.length > 0 && sum <= most + pairs.length, `${kind} ${sum} ${most}`);
      }
    }
  }));

  test('heap, memory beside it, and the event loop', () => withAgent(async (agent) => {
    const one = await agent.serving(binary, 'garbage.js', {
      env: { NODE_OPTIONS: `--max-old-space-size=200 --require ${require('./agent.js').PRELOAD}` },
    });
    const pool = keepAlive();
    const busy = one.next('stats', ({ utilization_ppm: ppm }) => ppm > 500000);
    await request({ port: agent.port, path: '/busy?ms=1500', agent: pool });
    const stats = await busy;
    assert.ok(stats.utilization_ppm <= 1000000);
    assert.ok(stats.heap_bytes > 0 && stats.heap_bytes <= stats.heap_total_bytes);
    // The young generation comes on top of the old space.
    assert.ok(stats.heap_limit_bytes >= 200 * 2 ** 20 && stats.heap_limit_bytes < 400 * 2 ** 20);
    assert.ok(stats.external_bytes > 20 * 2 ** 20, 'the buffer of the app');
    const idle = await one.next('stats', ({ utilization_ppm: ppm }) => ppm < 200000);
    assert.ok(idle.utilization_ppm >= 0);
    pool.destroy();
  }));
});
