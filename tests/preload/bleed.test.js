// Bleeding, shedding, reporting, and an agent that misbehaves.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { perNode, withAgent, keepAlive, Raw, request, within } = require('./helpers.js');

const closes = (text) => (text.match(/^connection: close/gim) || []).length;

perNode('bleed', ({ binary }) => {
  const plain = (run, options) => withAgent(async (agent) => {
    await run(agent, await agent.serving(binary, 'plain.js', options));
  });

  test('a response in flight says close, an idle connection lives until its next response', () =>
    plain(async (agent, one) => {
      const [slow, idle] = [new Raw(agent.port), new Raw(agent.port)];
      idle.get('/pid');
      await idle.responses(1);
      assert.equal(closes(idle.text), 0);
      slow.get('/slow?ms=400&say');
      await one.printed('slow begun');
      const drained = one.bleed(20000);
      await slow.responses(1);
      assert.equal(closes(slow.text), 1);
      await slow.closed;
      assert.equal(idle.ended, undefined);
      idle.get('/proxied');
      await idle.responses(2);
      assert.match(idle.text, /proxied/);
      assert.equal(closes(idle.text), 1);
      assert.equal(/keep-alive/i.test(idle.text.slice(idle.text.lastIndexOf('HTTP/1.1'))), false);
      await idle.closed;
      assert.deepEqual(await drained, { type: 'drained', cut: 0, websockets: 0 });
    }));

  test('a stream under way ends whole, and its connection has one more response', () =>
    plain(async (agent, one) => {
      const raw = new Raw(agent.port);
      raw.get('/stream?ms=500');
      await raw.until((text) => text.includes('chunk 10'));
      const drained = one.bleed(20000);
      await raw.responses(1);
      assert.match(raw.text, /chunk 1\n[^]*end\r\n0\r\n\r\n$/);
      assert.equal(closes(raw.text), 0);
      raw.get('/pid');
      await raw.responses(2);
      assert.equal(closes(raw.text), 1);
      assert.equal((await drained).cut, 0);
    }));

  test('pipelined requests are all answered, the last one says close', () =>
    plain(async (agent, one) => {
      const [sync, slow] = [new Raw(agent.port), new Raw(agent.port)];
      const ask = (path) => `GET ${path} HTTP/1.1\r\nHost: app\r\n\r\n`;
      sync.get('/pid');
      await sync.responses(1);
      slow.socket.write(ask('/slow?ms=300&say') + ask('/slow?ms=10') + ask('/slow?ms=310'));
      await one.printed('slow begun');
      const drained = one.bleed(20000);
      await slow.responses(3);
      assert.equal(closes(slow.text), 1);
      await slow.closed;
      sync.socket.write(ask('/pid') + ask('/slow?ms=20') + ask('/pid'));
      await sync.responses(4);
      assert.equal(closes(sync.text), 1);
      assert.ok(sync.text.lastIndexOf('HTTP/1.1') < sync.text.search(/connection: close/i));
      assert.equal((await drained).cut, 0);
    }));

  test('at the deadline what is in flight is cut and counted, also without an agent', () =>
    plain(async (agent, one) => {
      const [hung, idle] = [new Raw(agent.port), new Raw(agent.port)];
      idle.get('/pid');
      await idle.responses(1);
      hung.get('/hang');
      await one.printed('hanging');
      one.send({ type: 'bleed', within_ms: 60000 });
      one.send({ type: 'bleed', within_ms: 300 }); // shortens
      one.send({ type: 'bleed', within_ms: 60000 }); // does not lengthen
      const told = one.next('hello');
      await one.probe();
      await agent.closeChannel();
      await Promise.all([within(hung.closed, 'cut'), within(idle.closed, 'close')]);
      await agent.openChannel();
      assert.equal((await told).state, 'drained');
      assert.deepEqual(await one.message('drained'), { type: 'drained', cut: 1, websockets: 0 });
      assert.deepEqual(await one.bleed(1), { type: 'drained', cut: 1, websockets: 0 });
      assert.equal((await one.probe()).text, 'hello');
    }));

  // The host leaves; its load balancer knows, and still sends for a moment.
  test('until it is quiet what comes is answered, and idle connections do not count', () =>
    plain(async (agent, one) => {
      const idle = new Raw(agent.port);
      idle.get('/pid');
      await idle.responses(1);
      const began = performance.now();
      const drained = one.bleed(20000, { lasts_ms: 400, past_counts: false });
      for (let i = 0; i < 5; i++) {
        await new Promise((resolve) => setTimeout(resolve, 150));
        const late = new Raw(agent.port);
        late.get('/pid');
        await late.responses(1);
        assert.equal(closes(late.text), 1);
        await late.closed;
      }
      const slow = new Raw(agent.port);
      slow.get('/slow?ms=700');
      await slow.responses(1);
      const answered = performance.now();
      assert.deepEqual(await drained, { type: 'drained', cut: 0, websockets: 0 });
      const ended = performance.now();
      assert.ok(ended - began > 5 * 150 + 700, `${ended - began} ms`);
      // The answer took longer than the quiet time, in which nothing else came.
      assert.ok(ended - answered < 300, `${ended - answered} ms after the last answer`);
      assert.equal(idle.ended, undefined);
    }));

  test('health checks go on for as long as they like; quiet can be called off', () =>
    plain(async (agent, one) => {
      const headers = { 'user-agent': 'ELB-HealthChecker/2.0' };
      const hour = { lasts_ms: 3600000, past_counts: false };
      const checks = setInterval(() => {
        request({ port: agent.port, headers, agent: false }).catch(() => {});
      }, 50);
      try {
        one.send({ type: 'bleed', within_ms: 60000, quiet: hour });
        const quiet = { lasts_ms: 300, past_counts: true };
        assert.deepEqual(await one.bleed(60000, quiet), { type: 'drained', cut: 0, websockets: 0 });
      } finally {
        clearInterval(checks);
      }
      const other = await agent.serving(binary, 'plain.js');
      other.send({ type: 'bleed', within_ms: 60000, quiet: hour });
      assert.deepEqual(await other.bleed(60000), { type: 'drained', cut: 0, websockets: 0 });
      // Nobody has ever asked it for anything: that is silence enough.
      const third = await agent.serving(binary, 'plain.js');
      const long = { lasts_ms: 1, past_counts: true };
      assert.deepEqual(await third.bleed(60000, long), { type: 'drained', cut: 0, websockets: 0 });
    }));

  test('drained at once: not accepting, or without connections', () => withAgent(async (agent) => {
    const early = agent.spawn(binary, 'plain.js');
    const served = await agent.serving(binary, 'plain.js');
    await early.listening();
    for (const one of [early, served]) {
      assert.deepEqual(await one.bleed(60000), { type: 'drained', cut: 0, websockets: 0 });
    }
  }));

  test('the agent dies and returns: the app serves on, and says what it is', () =>
    plain(async (agent, one) => {
      await agent.closeChannel();
      for (let i = 0; i < 3; i++) {
        assert.equal((await request({ port: agent.port, agent: false })).text, 'hello');
      }
      const told = one.next('hello');
      await agent.openChannel();
      assert.equal((await told).state, 'accepting');
      await one.accept();
      const { status } = await one.stats((sum) => sum.requests >= 3);
      assert.deepEqual(status, { '2xx': 3 }); // also what happened while nobody listened
    }));

  test('garbage on the channel changes nothing', () => plain(async (agent, one) => {
    const nonsense = ['', 'accept', 'null', '[]', '7', '{"type":7}', '{"type":"bleed!"}',
      '{"type":"shed","connections":"many"}', '{"type":"shed","connections":-1}',
      '{"__proto__":{"type":"bleed"}}', '\u0000\uFFFD', '{"type":"accept","more":{}}'];
    one.socket.write(`${nonsense.join('\n')}\n`);
    await one.accept();
    const again = one.next('hello');
    one.socket.write('x'.repeat(200000)); // no line ends: dropped, and connected anew
    assert.equal((await again).state, 'accepting');
    assert.equal((await request({ port: agent.port, agent: false })).text, 'hello');
  }));

  const sheds = async (agent, one) => {
    const all = Array.from({ length: 6 }, () => new Raw(agent.port));
    for (const raw of all) {
      raw.get('/pid');
      await raw.responses(1);
    }
    await one.stats((sum) => sum.last.connections === 6);
    one.send({ type: 'shed', connections: 2 });
    one.send({ type: 'shed', connections: 2 }); // the same two: a level, not an order for more
    one.send({ type: 'accept' });
    await one.next('accepting');
    for (const raw of all) {
      raw.get('/pid');
      await raw.responses(2);
    }
    assert.deepEqual(all.map((raw) => closes(raw.text)), [0, 0, 0, 0, 1, 1]);
    await one.stats((sum) => sum.last.connections === 4);
    for (const raw of all) raw.socket.destroy();
  };
  test('shed: each connection once, the latest first, the rest stays', () => plain(sheds));

  test('stats: classes, latencies, in flight, aborted clients; probes never count', () =>
    plain(async (agent, one) => {
      const get = (path) => request({ port: agent.port, path, agent: false });
      await Promise.all([get('/'), get('/status?code=404'), get('/status?code=503'),
        get('/status?code=302'), get('/slow?ms=200'), one.probe('/'),
        one.probe('/status?code=500')]);
      const hung = new Raw(agent.port);
      hung.get('/hang');
      const busy = await one.stats((sum) => sum.requests === 5 && sum.last.in_flight === 1);
      assert.deepEqual(busy.status, { '2xx': 2, '3xx': 1, '4xx': 1, '5xx': 1 });
      assert.equal(busy.latencies, 5);
      hung.socket.destroy();
      const calm = await one.stats((sum) => sum.aborted === 1 && sum.last.in_flight === 0);
      assert.equal(calm.last.connections, 0);
      const slow = one.messages.filter((m) => m.type === 'stats').flatMap((m) => m.latency);
      const bucket = Math.ceil(40 * Math.log2(200000)); // of 200 ms
      assert.ok(slow.some(([i]) => i >= bucket - 2 && i < bucket + 80), JSON.stringify(slow));
      assert.ok(calm.last.heap_bytes > 1e6 && calm.last.lag_p99_us >= calm.last.lag_p50_us);
    }));

  test('POST bodies and a keep-alive pool pass unharmed', () => plain(async (agent) => {
    const pool = keepAlive();
    const body = 'x'.repeat(300000);
    for (let i = 0; i < 3; i++) {
      const options = { port: agent.port, path: '/echo', method: 'POST', agent: pool };
      assert.equal((await request(options, body)).text, body);
    }
    pool.destroy();
  }));

  const handlers = { '': { code: null, signal: 'SIGTERM' }, exit: { code: 3, signal: null },
    close: { code: 4, signal: null } };
  for (const [handler, ends] of Object.entries(handlers)) {
    test(`SIGTERM after the bleed, ${handler || 'no'} handler`, () => plain(async (agent, one) => {
      assert.equal((await request({ port: agent.port, agent: false })).text, 'hello');
      await one.bleed(5000);
      one.child.kill('SIGTERM');
      assert.deepEqual(await within(one.exit, 'exit'), ends);
      if (handler === 'close') assert.match(one.stdout, /closed well/);
    }, { env: { HANDLER: handler } }));
  }

  test("the app's own server.close stops accepting and waits for its connections", () =>
    plain(async (agent, one) => {
      const slow = request({ port: agent.port, path: '/slow?ms=300&say', agent: false });
      await one.printed('slow begun');
      one.child.kill('SIGTERM');
      await one.printed('SIGTERM');
      assert.equal((await slow).text, 'slow');
      assert.deepEqual(await within(one.exit, 'exit'), { code: 4, signal: null });
    }, { env: { HANDLER: 'close' } }));
});
