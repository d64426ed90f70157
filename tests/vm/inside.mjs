// Runs as root in the virtual machine of tests/vm/run. What counts is printed after an `@`.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';

import {
  GROUNDCREW, PORT, SOURCE, TIERS, UNIT, failed, get, link, load, pids, processOf, read, run,
  runAll, show, sleep, status, tier, settled as settledWithin, until as untilWithin,
} from './host.mjs';

const NODE = '/opt/test/node';
const PIDS_MAX = 64;
const MEMORY_MAX_MIB = 160; // a Node without anything takes a third
// Software emulation is some twenty times slower than the machine below.
const WITHIN_MS = 90_000;
const DAY_S = 86_400;
// The unit's own is too short for this machine to be sure, and too long to wait for.
const WATCHDOG_S = 20;

const say = (text) => console.log(`@ ${text}`);
const until = (what, check) => untilWithin(what, WITHIN_MS, check);
const settled = (version) => settledWithin(version, WITHIN_MS);

// ---- The host ----------------------------------------------------------------------------------

const HOST = `environment = "production"
source = "${SOURCE}"
[poll]
interval = "1s"
[logs.to]
kind = "none"
[tier.bomb]
pids_max = ${PIDS_MAX}
[tier.hog]
memory_max = "${MEMORY_MAX_MIB} MiB"
`;

const RELEASE = `[tier.web]
command = ["${NODE}", "web.js"]
handoff = "node"
port = ${PORT}
processes = 1
ready = { path = "/health", within = "60s", successes = 1 }
[tier.bomb]
command = ["${NODE}", "bomb.js"]
processes = 1
[tier.hog]
command = ["${NODE}", "hog.js"]
processes = 1
[trial]
for = "2s"
`;

// Both wait until they are told to: a release that is bad from the start would not be settled.
const BOMB = `const { existsSync } = require('fs');
const { spawn } = require('child_process');
setInterval(() => {
  if (!existsSync('/run/bomb')) return;
  const options = { stdio: 'ignore', detached: true };
  spawn('sleep', ['1000'], options).on('error', (error) => console.log('refused:', error.code));
}, 20);
`;
const HOG = `const { existsSync, rmSync } = require('fs');
const held = [];
setInterval(() => {
  if (!existsSync('/run/hog')) return;
  held.push(Buffer.alloc(16 << 20, 1));
}, 50);
`;

async function promote(version) {
  const tree = `/srv/${version}`;
  fs.mkdirSync(tree, { recursive: true });
  fs.copyFileSync('/opt/test/apps/web.js', `${tree}/web.js`);
  fs.writeFileSync(`${tree}/VERSION`, version);
  fs.writeFileSync(`${tree}/bomb.js`, BOMB);
  fs.writeFileSync(`${tree}/hog.js`, HOG);
  fs.writeFileSync(`${tree}/release.toml`, RELEASE);
  const options = ['--source', SOURCE, '--version', version, '--promote', 'production'];
  await run(GROUNDCREW, ['publish', tree, ...options]);
}

// The group of a process, read from the kernel.
async function groupOf(name) {
  const { pid } = await processOf(name);
  const group = read(`/proc/${pid}/cgroup`).match(/^0::(.*)$/m)[1];
  return `/sys/fs/cgroup${group}`;
}

const socketOf = (pid) => link(`/proc/${pid}/fd/3`);
const pgrep = (...args) => spawnSync('pgrep', args, { encoding: 'utf8' }).stdout;
const number = (text, key) => Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)[1]);

// ---- The tests ---------------------------------------------------------------------------------

const tests = {
  async 'pids_max holds a fork bomb, and the other tiers do not notice'() {
    const group = await groupOf('bomb');
    assert.equal(Number(read(`${group}/pids.max`)), PIDS_MAX);
    const stop = load();
    fs.writeFileSync('/run/bomb', '');
    await until('forks are refused', async () => number(read(`${group}/pids.events`), 'max') > 20);
    assert.ok(Number(read(`${group}/pids.current`)) <= PIDS_MAX);
    assert.equal((await tier('web')).ready, 1);
    fs.rmSync('/run/bomb');
    await run(GROUNDCREW, ['restart', 'bomb']);
    // Detached, in sessions of their own: only the group knows them.
    await until('the group is gone', async () => !fs.existsSync(group));
    assert.equal(pgrep('-x', 'sleep'), '');
    say(`  ${await stop()} requests meanwhile, 0 failed`);
  },

  async 'the application comes before the agent and what it starts for itself'() {
    const weights = [UNIT, TIERS].map((unit) => `/sys/fs/cgroup/system.slice/${unit}/cpu.weight`);
    assert.deepEqual(weights.map((path) => Number(read(path))), [100, 1000]);
  },

  async 'memory_max ends the one that takes more, and the reason says so'() {
    const group = await groupOf('hog');
    assert.equal(Number(read(`${group}/memory.max`)), MEMORY_MAX_MIB << 20);
    const stop = load();
    fs.writeFileSync('/run/hog', '');
    await until('it was killed and said why', async () => {
      const { events } = await status();
      return events.some((one) => /hog.*memory/i.test(JSON.stringify(one)))
        || JSON.stringify(events.slice(0, 5));
    });
    fs.rmSync('/run/hog');
    await until('it runs again', async () => (await tier('hog')).ready === 1);
    assert.ok((await processOf('hog')).restarts >= 1);
    assert.equal((await processOf('web')).restarts, 0);
    say(`  ${await stop()} requests meanwhile, 0 failed`);
  },

  async 'the clock jumps forth and back, and nothing happens but the next release'() {
    const stop = load();
    for (const [version, seconds] of [['v2', 40 * DAY_S], ['v3', -80 * DAY_S]]) {
      const before = pids(await status());
      const now = Math.floor(Date.now() / 1000);
      execFileSync('date', ['-s', `@${now + seconds}`], { stdio: 'ignore' });
      await sleep(3000); // several probes and polls
      const after = await status();
      assert.deepEqual(pids(after), before);
      for (const one of after.tiers) assert.equal(one.ready, 1, one.name);
      await promote(version);
      await settled(version);
      assert.equal(JSON.parse((await get('/version')).body).release, version);
    }
    say(`  ${await stop()} requests meanwhile, 0 failed`);
  },

  async 'the tiers survive the agent, killed, stuck or reloaded, with sockets and limits'() {
    const stop = load();
    const before = pids(await status());
    const socket = socketOf((await processOf('web')).pid);
    assert.equal(show('NFileDescriptorStore'), '1');
    assert.match(show('StatusText'), /^serving v3: bomb 1\/1, hog 1\/1, web 1\/1$/);
    for (const [restarts, how] of [['1', 'KILL'], ['2', 'STOP']]) {
      execFileSync('systemctl', ['kill', '--kill-who=main', `--signal=${how}`, UNIT]);
      await until(`systemd started it again after SIG${how}`, async () => (
        show('NRestarts') === restarts && show('ActiveState') === 'active') || show('NRestarts'));
      await settled('v3');
      assert.deepEqual(pids(await status()), before);
      const main = show('MainPID');
      const held = fs.readdirSync(`/proc/${main}/fd`).map((fd) => link(`/proc/${main}/fd/${fd}`));
      assert.ok(held.includes(socket), `${held} has ${socket}`);
      assert.equal(Number(read(`${await groupOf('bomb')}/pids.max`)), PIDS_MAX);
    }
    await run('systemctl', ['reload', UNIT]);
    assert.equal(show('NRestarts'), '2');
    assert.deepEqual(pids(await status()), before);
    // One that is started by the new agent has its limits too.
    await run(GROUNDCREW, ['restart', 'hog']);
    await settled('v3');
    assert.equal(Number(read(`${await groupOf('hog')}/memory.max`)), MEMORY_MAX_MIB << 20);
    say(`  ${await stop()} requests meanwhile, 0 failed`);
  },

  async 'systemctl stop drains, and leaves no process and no group'() {
    execFileSync('systemctl', ['stop', UNIT]);
    assert.equal(pgrep('-f', '(web|hog|bomb)[.]js'), '');
    await until('nobody needs the group', async () => (
      !fs.existsSync(`/sys/fs/cgroup/system.slice/${TIERS}`)));
    assert.equal(show('Result'), 'success');
  },
};

function dropIn(unit, name, text) {
  fs.mkdirSync(`/etc/systemd/system/${unit}.d`, { recursive: true });
  fs.writeFileSync(`/etc/systemd/system/${unit}.d/${name}.conf`, text);
}

function install() {
  fs.mkdirSync('/usr/local/bin', { recursive: true });
  fs.copyFileSync('/opt/test/groundcrew', GROUNDCREW);
  for (const unit of [UNIT, TIERS]) {
    fs.copyFileSync(`/opt/test/systemd/${unit}`, `/etc/systemd/system/${unit}`);
  }
  fs.mkdirSync('/etc/groundcrew', { recursive: true });
  fs.writeFileSync('/etc/groundcrew/groundcrew.toml', HOST);
  dropIn(UNIT, 'watchdog', `[Service]\nWatchdogSec=${WATCHDOG_S}s\n`);
  // The machine has no modules of the kernel; tests/container has the guard.
  dropIn(TIERS, 'no-imds-guard', '[Service]\nExecStartPre=\nExecReload=\nExecStopPost=\n');
  execFileSync('systemctl', ['daemon-reload']);
}

async function main() {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  fs.mkdirSync('/srv/source', { recursive: true });
  install();
  await promote('v1');
  // Its start waits for the agent to have looked around, and for the tiers' unit.
  execFileSync('systemctl', ['start', UNIT]);
  await settled('v1');
  await runAll(tests, say);
  say('all passed');
}

main().catch((error) => failed(error, say));
