// Taking over listen(): what the app sees, and what the agent is told.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { Agent, APPS } = require('./agent.js');
const { perNode, withAgent, request, within } = require('./helpers.js');

const NPM = fs.realpathSync(path.join(path.dirname(process.execPath), 'npm'));

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

perNode('listen', ({ binary }) => {
  const ways = {
    number: '::', text: '::', host: '127.0.0.1', backlog: '127.0.0.1', undefined: '::',
    options: '127.0.0.1', event: '::', once: '::', signal: '::', reopen: '::',
  };
  for (const [way, host] of Object.entries(ways)) {
    test(`${way}: the app is told host and port`, () => withAgent(async (agent) => {
      const one = agent.spawn(binary, 'listen.js', { args: [way] });
      await one.printed('up');
      const shown = JSON.parse(one.stdout.split('true ')[1]);
      const family = host === '::' ? 'IPv6' : 'IPv4';
      assert.deepEqual(shown, { address: host, family, port: agent.port });
      await one.listening();
      assert.equal((await one.probe()).text, 'hello');
      if (way !== 'signal') return;
      one.child.kill('SIGUSR2');
      await one.printed('aborted');
      assert.equal((await one.exit).signal, null);
    }));
  }

  test('a second listen throws as ever', () => withAgent(async (agent) => {
    const one = agent.spawn(binary, 'listen.js', { args: ['twice'] });
    await one.printed('up twice');
    assert.match(one.stdout, /ERR_SERVER_ALREADY_LISTEN/);
  }));

  test('the timeouts are raised unless set', () => withAgent(async (agent) => {
    const [raised, set] = ['timeouts', 'set'].map((way) =>
      agent.spawn(binary, 'listen.js', { args: [way] }));
    await raised.printed('up set 1000 2000');
    assert.match(raised.stdout, /ours 75000 76000/);
    await set.printed('up set 1000 2000');
  }));

  test('nothing is accepted before the agent says so, probes are answered', () =>
    withAgent(async (agent) => {
      const one = agent.spawn(binary, 'plain.js');
      await one.listening();
      const early = request({ port: agent.port, path: '/pid', agent: false });
      let answered = false;
      early.then(() => {
        answered = true;
      });
      for (let i = 0; i < 20; i++) {
        assert.equal((await one.probe('/pid')).text, String(one.child.pid));
      }
      assert.equal(answered, false);
      await one.accept();
      assert.equal((await early).text, String(one.child.pid));
      await one.accept(); // idempotent
    }));

  test('another port is reported once, with its number', () => withAgent(async (agent) => {
    const one = agent.spawn(binary, 'listen.js', { args: ['other'] });
    const { port, pid, child } = await one.message('elsewhere');
    assert.equal((await request({ port, agent: false })).text, 'hello');
    assert.deepEqual([pid, child], [one.child.pid, false]);
  }));

  test('npm start: the child that listens is reported', () => withAgent(async (agent) => {
    // npm needs a newer Node than the oldest here; its script runs the one under test.
    const npm = [process.execPath, NPM, 'start'];
    const one = agent.spawn(binary, npm, { cwd: path.join(APPS, 'npm') });
    const { port, pid, child } = await within(agent.stranger, 'elsewhere of a child');
    assert.deepEqual([port, child], [agent.port, true]);
    assert.notEqual(pid, one.child.pid);
    await one.exit;
  }, { stderr: /EADDRINUSE/ }));

  test('cluster: the worker is reported, not given the private socket', () =>
    withAgent(async (agent) => {
      const one = agent.spawn(binary, 'listen.js', { args: ['cluster'] });
      const { port, child } = await within(agent.stranger, 'elsewhere of a worker');
      assert.deepEqual([port, child], [agent.port, true]);
      await one.printed('up worker 9');
    }));

  for (const way of ['nothing', 'unref']) {
    test(`${way}: the process is not kept alive`, () => withAgent(async (agent) => {
      const one = agent.spawn(binary, 'listen.js', { args: [way] });
      assert.deepEqual(await one.exit, { code: 0, signal: null });
    }));
  }

  test('without an agent around the app listens all the same', () => withAgent(async (agent) => {
    const one = agent.spawn(binary, 'plain.js', { env: { GROUNDCREW_CHANNEL: '/nowhere/at.all' } });
    await one.printed('port');
    assert.equal((await one.probe('/')).text, 'hello');
  }));

  const without = { 'without groundcrew': 'GROUNDCREW_CHANNEL= LISTEN_PID=$$',
    'in a child': 'LISTEN_PID=1' };
  for (const [name, assignments] of Object.entries(without)) {
    test(`${name} the app does as it always did`, () => withAgent(async (agent) => {
      const port = await freePort();
      const command = `${assignments} exec ${binary} ${path.join(APPS, 'plain.js')}`;
      const one = agent.spawn(binary, ['/bin/sh', '-c', command], { env: { PORT: String(port) } });
      await one.printed('port');
      assert.equal((await request({ port, agent: false })).text, 'hello');
      assert.equal(fs.existsSync(one.probePath), false);
    }));
  }

  test('a private socket that cannot be is one line, and the app does as ever', () =>
    withAgent(async (agent) => {
      const one = agent.spawn(binary, 'plain.js', { env: { GROUNDCREW_PROBE: '/nowhere/a.sock' } });
      await one.exit;
      assert.match(one.stderr, /^groundcrew: preload could not take over listen: ENOENT.*\n/);
      assert.match(one.stderr, /EADDRINUSE/);
    }, { stderr: /./ }));

  test('fd 3 that is no socket is left alone', async () => {
    const agent = await Agent.start();
    const real = agent.handle;
    const file = fs.openSync(path.join(agent.dir, 'file'), 'w');
    agent.handle = { fd: file };
    const one = agent.spawn(binary, 'listen.js', { args: ['other'] });
    await one.printed('up other');
    assert.match(one.stderr, /could not use fd 3: it is not a socket/);
    agent.handle = real;
    fs.closeSync(file);
    await agent.close();
  });
});
