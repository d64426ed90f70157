// Runs as root in the container of tests/container/run, once at each of its two boots. What counts
// is printed after an `@`.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';

import {
  GROUNDCREW, TIERS, UNIT, failed, get, journal, link, load, pids, read, run, runAll, show, sleep,
  status, systemctl, settled as settledWithin, until as untilWithin,
} from './host.mjs';

const WITHIN_MS = 30_000;
const CONFIG = '/etc/groundcrew/groundcrew.toml';
const IMDS = '169.254.169.254';
const NEIGHBOUR = '169.254.169.123'; // the time, on EC2
// Says that this is the second boot.
const BOOTED = '/var/lib/groundcrew-container-test';
const SCORE_MAX = 4.0;

const say = (text) => console.log(`@ ${text}`);
const until = (what, check) => untilWithin(what, WITHIN_MS, check);
const settled = (version) => settledWithin(version, WITHIN_MS);

const ASK = `require('http').get(process.argv[1], { timeout: 5000 }, (answer) => {
  answer.resume();
  console.log(answer.statusCode);
}).on('timeout', function () { this.destroy({ code: 'timeout' }); })
  .on('error', ({ code }) => console.log(code));`;
// What the tiers' user gets from an address: a status, or why there is none.
async function askAsApp(address) {
  const user = ['--reuid=app', '--regid=app', '--clear-groups'];
  return (await run('setpriv', [...user, 'node', '-e', ASK, `http://${address}/`])).stdout.trim();
}

// What stands in for the instance's metadata, and for what is beside it.
async function listenAt(address) {
  execFileSync('ip', ['address', 'add', `${address}/32`, 'dev', 'lo']);
  const server = http.createServer((_, response) => response.end('here'));
  await new Promise((resolve) => server.listen(80, address, resolve));
  server.unref();
}

// As a package would: another file in the place of the one that runs.
function install(bytes) {
  fs.writeFileSync(`${GROUNDCREW}.new`, bytes, { mode: 0o755 });
  fs.renameSync(`${GROUNDCREW}.new`, GROUNDCREW);
}

// Beside the load, unlike `systemctl`.
const reload = () => run('systemctl', ['reload', UNIT]);

function override(name, text) {
  fs.writeFileSync(`/etc/systemd/system/${UNIT}.d/${name}.conf`, text);
  systemctl('daemon-reload');
}

// What runs and listens, as the kernel has it.
async function running() {
  const now = pids(await status());
  return { pids: now, socket: link(`/proc/${now[0]}/fd/3`) };
}

// `how` ends the agent or replaces it, under load; the same processes serve on.
async function goesOn(how) {
  const stop = load(4);
  const before = await running();
  await how();
  await settled('v1');
  assert.deepEqual(await running(), before);
  const main = show('MainPID');
  const held = fs.readdirSync(`/proc/${main}/fd`).map((fd) => link(`/proc/${main}/fd/${fd}`));
  assert.ok(held.includes(before.socket), `${held} has ${before.socket}`);
  say(`  ${await stop()} requests meanwhile, 0 failed`);
}

const restarted = (times) => until(`systemd started it again`, async () => (
  show('NRestarts') === String(times) && show('ActiveState') === 'active') || show('NRestarts'));

// ---- The first boot ----------------------------------------------------------------------------

const first = {
  async 'boots until the app serves, without anybody doing anything'() {
    await until('the unit is up', async () => show('ActiveState') === 'active');
    await settled('v1');
    assert.equal((await get('/')).status, 200);
    assert.equal((await get('/ready', { port: 9180 })).status, 200);
    assert.match(show('StatusText'), /^serving v1: web 2\/2$/);
    assert.equal(show('NRestarts'), '0');
    const began = systemctl('show', '--value', '-p', 'UserspaceTimestampMonotonic');
    const took = Number(show('ActiveEnterTimestampMonotonic')) - Number(began);
    say(`  the agent was up ${(took / 1e6).toFixed(1)} s after systemd`);
  },

  async 'systemd has no complaint about the units, and a good opinion of the agent\'s'() {
    const verified = spawnSync('systemd-analyze', ['verify', '--man=no', UNIT, TIERS]);
    assert.equal(String(verified.stderr) + String(verified.stdout), '');
    assert.equal(verified.status, 0);
    const security = spawnSync('systemd-analyze', ['security', '--no-pager', UNIT]);
    const score = Number(/Overall exposure level for .*: ([\d.]+)/.exec(security.stdout)[1]);
    assert.ok(score <= SCORE_MAX, String(security.stdout));
    say(`  exposure ${score}`);
  },

  async 'a tier runs as its user, without rights, in a file system it cannot write'() {
    for (const pid of (await running()).pids) {
      const all = read(`/proc/${pid}/status`);
      const has = (name) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(all)[1];
      const uid = execFileSync('id', ['-u', 'app'], { encoding: 'utf8' }).trim();
      assert.deepEqual(has('Uid').split('\t'), [uid, uid, uid, uid]);
      for (const set of ['CapEff', 'CapPrm', 'CapAmb', 'CapInh']) {
        assert.equal(BigInt(`0x${has(set)}`), 0n, set);
      }
      assert.equal(has('NoNewPrivs'), '1');
      assert.equal(has('Seccomp'), '2');
      assert.equal(has('SigBlk'), '0000000000000000');
      const group = new RegExp(`^0::/system.slice/${TIERS}/.*web`, 'm');
      assert.match(read(`/proc/${pid}/cgroup`), group);
      const touch = (file) => spawnSync('nsenter', ['-t', pid, '-m', 'touch', file]).status === 0;
      for (const file of ['/srv/x', '/etc/x', '/usr/x', '/root/x', '/var/lib/x']) {
        assert.equal(touch(file), false, file);
      }
      for (const file of ['/tmp/x', '/var/tmp/x', '/var/lib/groundcrew/home/app/x']) {
        assert.equal(touch(file), true, file);
      }
      assert.equal(fs.existsSync('/tmp/x'), false, 'it has a /tmp of its own');
      const user = ['--reuid=app', '--regid=app', '--clear-groups'];
      const sees = (other) => spawnSync('nsenter', [
        '-t', pid, '-m', 'setpriv', ...user, 'test', '-e', `/proc/${other}/cmdline`,
      ]).status === 0;
      assert.deepEqual([sees(pid), sees(1)], [true, false]);
    }
  },

  async 'what units, the agent and the tiers say is shipped'() {
    const shipped = () => read('/var/lib/groundcrew/shipped.jsonl').trim().split('\n')
      .map((line) => JSON.parse(line));
    const says = (group, text) => until(`${text} in ${group}`, async () => shipped().some(
      (event) => event.group === `/groundcrew/production/${group}` && event.message.includes(text),
    ) || shipped().length);
    execFileSync('systemd-run', ['--quiet', '--unit=words', 'echo', 'words of a unit']);
    await says('journal', 'words of a unit');
    await says('agent', 'v1 settled');
    await says('web', 'listens on');
  },

  async 'the journal has the agent\'s words with priorities and fields'() {
    const entries = (...match) => journal('-u', UNIT, '-o', 'json', ...match).trim().split('\n')
      .filter(Boolean).map((line) => JSON.parse(line));
    const settled = entries('RELEASE=v1').find(({ MESSAGE }) => MESSAGE === 'v1 settled');
    assert.equal(settled.PRIORITY, '6');
    assert.equal(settled.SYSLOG_IDENTIFIER, 'groundcrew');
    assert.equal(settled._SYSTEMD_UNIT, UNIT);
    const [{ pid }] = (await status()).tiers[0].processes;
    process.kill(pid, 'SIGKILL');
    await until('the journal says so', async () => (
      entries('TIER=web', 'PROCESS=web.1.1', 'RELEASE=v1').some(({ MESSAGE, PRIORITY }) => (
        PRIORITY === '4' && /^web.1.1 .*SIGKILL/.test(MESSAGE)))
      || journal('-u', UNIT, '-n', '5', '-o', 'json')));
    await until('it runs again', async () => (await status()).tiers[0].ready === 2);
  },

  async 'only root reaches the metadata, and everybody what is beside it'() {
    await listenAt(IMDS);
    await listenAt(NEIGHBOUR);
    assert.equal((await get('/', { host: IMDS, port: 80 })).status, 200);
    assert.equal(await askAsApp(NEIGHBOUR), '200');
    assert.equal(await askAsApp(IMDS), 'ECONNREFUSED');
    // An exception, and the way back.
    execFileSync('nft', ['add element inet groundcrew may_ask { "app" }']);
    assert.equal(await askAsApp(IMDS), '200');
    systemctl('reload', TIERS);
    assert.equal(await askAsApp(IMDS), 'ECONNREFUSED');
  },

  async 'the agent is killed, and nobody notices'() {
    await goesOn(async () => {
      systemctl('kill', '--kill-who=main', '--signal=KILL', UNIT);
      await restarted(1);
    });
    assert.equal(await askAsApp(IMDS), 'ECONNREFUSED');
  },

  async 'the agent hangs, the watchdog kills it, and nobody notices'() {
    await goesOn(async () => {
      systemctl('kill', '--kill-who=main', '--signal=STOP', UNIT);
      await restarted(2);
    });
    // Still the /tmp they had.
    assert.ok(fs.existsSync(`/proc/${(await running()).pids[0]}/root/tmp/x`));
  },

  async 'an agent that cannot start takes nothing with it, and comes back when it can'() {
    const config = read(CONFIG);
    const since = Number(show('NRestarts'));
    await goesOn(async () => {
      fs.writeFileSync(CONFIG, 'nonsense');
      systemctl('kill', '--kill-who=main', '--signal=KILL', UNIT);
      const tried = (times) => until('it was tried again and again', async () => (
        Number(show('NRestarts')) >= since + times || show('NRestarts')));
      await tried(4);
      systemctl('daemon-reexec');
      await tried(8);
      fs.writeFileSync(CONFIG, config);
      await until('it is back', async () => show('ActiveState') === 'active');
    });
    assert.equal(await askAsApp(IMDS), 'ECONNREFUSED');
  },

  async 'a reload goes on as another binary, in place'() {
    const before = { main: show('MainPID'), restarts: show('NRestarts') };
    const file = fs.statSync(GROUNDCREW);
    await goesOn(async () => {
      // Another file, and other bytes in it.
      install(Buffer.concat([read(GROUNDCREW, null), Buffer.from('another build')]));
      const started = Date.now();
      await reload();
      say(`  systemctl reload took ${Date.now() - started} ms`);
      // Synchronous: the new one is there and knows what runs.
      assert.equal(show('ActiveState'), 'active');
      assert.equal((await get('/ready', { port: 9180 })).status, 200);
    });
    assert.deepEqual({ main: show('MainPID'), restarts: show('NRestarts') }, before);
    const now = fs.statSync(`/proc/${before.main}/exe`);
    assert.equal(now.ino, fs.statSync(GROUNDCREW).ino);
    assert.notEqual(now.ino, file.ino);
    assert.equal(now.size, file.size + 13);
  },

  async 'again and again, while a release takes over'() {
    const before = show('MainPID');
    const stop = load(4);
    await run(GROUNDCREW, ['restart', 'web']);
    for (let i = 0; i < 5; i++) await reload();
    await settled('v1');
    await until('the old processes are gone', async () => pids(await status()).length === 2);
    assert.equal(show('MainPID'), before);
    // Still fed, and still listened to.
    assert.match(show('StatusText'), /^serving v1: web 2\/2$/);
    say(`  ${await stop()} requests meanwhile, 0 failed`);
  },

  async 'a reload to what does not work is refused, and the agent goes on'() {
    const before = { main: show('MainPID'), restarts: show('NRestarts') };
    const good = read(GROUNDCREW, null);
    const config = read(CONFIG);
    const refused = async (reason) => {
      await assert.rejects(reload(), /Job for groundcrew.service failed/);
      assert.match(journal('-u', UNIT, '-n', '5', '-o', 'cat'), reason);
      assert.deepEqual({ main: show('MainPID'), restarts: show('NRestarts') }, before);
      assert.equal(show('ActiveState'), 'active');
    };
    await goesOn(async () => {
      fs.writeFileSync(CONFIG, config.replace('interval', 'intervall'));
      await refused(/the agent goes on as it is: .*intervall/);
      fs.writeFileSync(CONFIG, config);
      // What the unit calls has to be the good one, so that it can ask.
      override('reload', `[Service]\nExecReload=\nExecReload=/run/good reload\n`);
      fs.writeFileSync('/run/good', good, { mode: 0o755 });
      install(good.subarray(0, good.length / 2));
      await refused(/the agent goes on as it is: \/usr\/local\/bin\/groundcrew cannot/);
      install('#!/bin/sh\nexec sleep 60\n');
      await refused(/the agent goes on as it is: .* did not check its configuration in time/);
      // It passes its trial, and is not there when it is needed.
      fs.copyFileSync('/bin/sh', '/var/lib/groundcrew/sh');
      install('#!/var/lib/groundcrew/sh\nrm /var/lib/groundcrew/sh\n');
      await refused(/the agent goes on as it is: .*groundcrew cannot be run: /);
      install(good);
      fs.rmSync(`/etc/systemd/system/${UNIT}.d/reload.conf`);
      systemctl('daemon-reload');
    });
    await goesOn(reload);
  },

  async 'the host reboots'() {
    fs.writeFileSync(BOOTED, '');
    systemctl('--no-block', 'reboot');
  },
};

// ---- The second boot ---------------------------------------------------------------------------

const second = {
  async 'it has booted again until the app serves'() {
    await first['boots until the app serves, without anybody doing anything']();
  },

  async 'a SIGTERM in the middle of a reload is not lost'() {
    // Wherever it comes in: before it the reload is refused, behind it the new agent leaves.
    for (const [times, ms] of [[1, 60], [2, 90], [3, 120]]) {
      const reloaded = reload().catch(() => 'refused');
      await sleep(ms);
      systemctl('kill', '--kill-who=main', '--signal=TERM', UNIT);
      await reloaded;
      await restarted(times);
      await settled('v1');
    }
  },

  async 'systemctl restart drains and starts anew'() {
    const before = pids(await status());
    systemctl('restart', UNIT);
    await settled('v1');
    for (const pid of pids(await status())) assert.ok(!before.includes(pid));
  },

  async 'systemctl stop drains, and leaves no process, no group and no rule'() {
    systemctl('stop', UNIT);
    assert.equal(show('Result'), 'success');
    assert.equal(spawnSync('pgrep', ['-f', 'web[.]js']).status, 1);
    assert.match(read('/proc/net/tcp') + read('/proc/net/tcp6'), /^(?!.*:1F90 .* 0A )/);
    await until('nobody needs the tiers\' unit', async () => (
      systemctl('show', '--value', '-p', 'ActiveState', TIERS).trim() === 'inactive'));
    assert.equal(fs.existsSync(`/sys/fs/cgroup/system.slice/${TIERS}`), false);
    assert.equal(String(execFileSync('nft', ['list', 'tables'])), '');
  },

  async 'and starts again'() {
    systemctl('start', UNIT);
    await settled('v1');
    systemctl('stop', TIERS);
    assert.equal(show('ActiveState'), 'inactive');
  },
};

async function main() {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  if (!fs.existsSync(BOOTED)) {
    await runAll(first, say);
    return;
  }
  await runAll(second, say);
  say('all passed');
  systemctl('--no-block', 'poweroff');
}

main().catch((error) => {
  failed(error, say);
  spawn('systemctl', ['--force', 'poweroff']);
});
