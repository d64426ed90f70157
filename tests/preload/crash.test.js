// Crashes: the process ends exactly as it would without the preload.
'use strict';

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { perNode, withAgent, Raw, request, within } = require('./helpers.js');

const WAYS = {
  '/throw': 'TypeError: thrown on purpose',
  '/reject': 'RangeError: rejected on purpose',
  '/throw-text': 'a text',
};

function checkStack({ name, stack }, message) {
  if (!message.includes(':')) {
    assert.deepEqual([name, stack], [undefined, undefined], 'what is no error has none');
    return;
  }
  assert.equal(name, message.split(':')[0]);
  assert.ok(stack.startsWith(`${message}\n    at `) && stack.includes('plain.js'), stack);
}

perNode('crash', ({ binary }) => {
  // How the same app ends with nothing of ours in it.
  const natural = async (agent, route) => {
    const one = agent.spawn(binary, 'plain.js', { preload: false, env: { PORT: '0' } });
    await one.printed('port');
    const { port } = JSON.parse(one.stdout);
    await assert.rejects(request({ port, path: route, agent: false }));
    return { ...await one.exit, stderr: one.stderr };
  };

  for (const [route, message] of Object.entries(WAYS)) {
    test(`${route}: dies as ever, and says why`, () => withAgent(async (agent) => {
      const expected = await natural(agent, route);
      const one = await agent.serving(binary, 'plain.js');
      await assert.rejects(request({ port: agent.port, path: route, agent: false }));
      assert.deepEqual({ ...await one.exit, stderr: one.stderr }, expected);
      const crash = await one.message('crash');
      assert.equal(crash.message, message);
      checkStack(crash, message);
    }, { stderr: /./ }));

    test(`${route} with bleed: others are answered first`, () => withAgent(async (agent) => {
      const expected = await natural(agent, route);
      const one = await agent.serving(binary, 'plain.js', {
        env: { GROUNDCREW_CRASH: 'bleed', GROUNDCREW_CRASH_MS: '900' },
      });
      const slow = new Raw(agent.port);
      slow.get('/slow?ms=300&say');
      await one.printed('slow begun');
      const crashing = new Raw(agent.port);
      crashing.get(route);
      assert.equal((await one.message('crash')).message, message);
      await slow.responses(1);
      assert.match(slow.text, /connection: close[^]*slow$/i);
      await within(crashing.closed, 'end of the request that crashed');
      assert.equal((await one.message('drained')).cut, 1);
      const { stderr, ...end } = { ...await one.exit, stderr: one.stderr };
      assert.deepEqual(end, { code: expected.code, signal: expected.signal });
      // A text has no stack; an error's says where it was made, a column or so from where it was
      // thrown: only the caret under the source line may differ.
      const caret = (text) => text.replace(/^ +\^$/m, '^');
      if (route === '/throw-text') assert.match(stderr, /a text/);
      else assert.equal(caret(stderr), caret(expected.stderr));
      const [first, last] = one.messages.filter(({ type }) => type === 'crash');
      assert.equal(first.stack, undefined, 'looked at too early, it changes what Node prints');
      checkStack(last, message);
    }, { stderr: /./ }));
  }

  test('a crash at boot is told, before the channel is up', () => withAgent(async (agent) => {
    const one = agent.spawn(binary, [binary, '-e', 'null.x']);
    assert.equal((await one.exit).code, 1);
    assert.match((await one.message('crash')).message, /^TypeError: Cannot read properties of/);
  }, { stderr: /TypeError/ }));

  test('an odd error is told within its bounds', () => withAgent(async (agent) => {
    const script = `const error = new Error('x'.repeat(99999)); error.name = 'N'.repeat(999);
      error.stack = '\\u{1F600}'.repeat(99999); throw error`;
    const one = agent.spawn(binary, [binary, '-e', script]);
    assert.notEqual((await one.exit).code, 0);
    const { message, name, stack } = await one.message('crash');
    assert.ok(Buffer.byteLength(message) <= 500 && name.length === 100);
    assert.ok(Buffer.byteLength(stack) <= 16 * 1024 && stack.endsWith('\u{1F600}'));
  }, { stderr: /./ }));

  test("the app's own handler decides", () => withAgent(async (agent) => {
    const script = `process.on('uncaughtException', () => process.exit(7)); null.x`;
    const one = agent.spawn(binary, [binary, '-e', script], { env: { GROUNDCREW_CRASH: 'bleed' } });
    assert.equal((await one.exit).code, 7);
    assert.equal(one.messages.some((message) => message.type === 'crash'), false);
  }));
});
