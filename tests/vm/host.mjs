// What the tests inside of a booted system stand on, in tests/vm and in tests/container: asks the
// agent and systemd, waits for conditions, puts load on the web tier.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export const GROUNDCREW = '/usr/local/bin/groundcrew';
export const SOURCE = 'file:///srv/source';
export const UNIT = 'groundcrew.service';
export const TIERS = 'groundcrew-tiers.service';
export const PORT = 8080;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const read = (file, encoding = 'utf8') => fs.readFileSync(file, encoding);

// Waits until `check` returns true; what it returned last is told when it never does.
export async function until(what, withinMs, check) {
  const started = process.hrtime.bigint(); // the wall clock jumps in tests/vm
  for (;;) {
    const last = await check().catch((error) => error);
    if (last === true) return;
    if (Number(process.hrtime.bigint() - started) / 1e6 > withinMs) {
      throw new Error(`waited in vain until ${what}; last: ${last && (last.stack || last)}`);
    }
    await sleep(200);
  }
}

export async function status() {
  const { stdout } = await run(GROUNDCREW, ['status', '--json']).catch((error) => error);
  return JSON.parse(stdout);
}

export const settled = (version, withinMs) => until(`${version} is settled`, withinMs, async () => {
  const now = await status();
  const good = now.state === 'serving' && now.release.version === version && !now.rollout;
  return good || JSON.stringify(now);
});

export const tier = async (name) => (await status()).tiers.find((one) => one.name === name);
export const processOf = async (name) => (await tier(name)).processes[0];
export const pids = ({ tiers }) => tiers.flatMap(({ processes }) => processes.map((p) => p.pid));

export const systemctl = (...args) => execFileSync('systemctl', args, { encoding: 'utf8' });
export const show = (name) => systemctl('show', '--value', '-p', name, UNIT).trim();

export function link(path) {
  try {
    return fs.readlinkSync(path);
  } catch {
    return ''; // closed in between
  }
}

export function get(path, { host = '127.0.0.1', port = PORT, agent = false } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host, port, path, agent }, (response) => {
      let body = '';
      response.on('data', (data) => { body += data; });
      response.on('end', () => resolve({ status: response.statusCode, body }));
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

// Requests for as long as something goes on, by `clients` that each send one after the other: every
// second one on a connection that it keeps. Returns what ends them, which fails when a request did.
// Nothing may block the event loop meanwhile.
export function load(clients = 1) {
  const counts = { sent: 0, failed: [] };
  let going = true;
  const client = async (agent) => {
    while (going) {
      const id = ++counts.sent;
      const answer = await get(`/?id=${id}`, { agent }).catch((error) => ({ status: error.code }));
      const good = answer.status === 200 && answer.body === `ok ${id}\n`;
      if (!good) counts.failed.push(answer.status);
    }
    if (agent) agent.destroy();
  };
  const agents = Array.from({ length: clients }, (_, i) => (
    i % 2 === 1 && new http.Agent({ keepAlive: true, maxSockets: 1 })));
  const done = Promise.all(agents.map(client));
  return async () => {
    going = false;
    await done;
    assert.deepEqual(counts.failed, [], 'no request fails');
    return counts.sent;
  };
}

// Runs tests in order; what counts goes to `say`. Shows the journal when one fails.
export async function runAll(tests, say) {
  for (const [name, test] of Object.entries(tests)) {
    const started = process.hrtime.bigint();
    await test();
    say(`ok ${name} (${Number((process.hrtime.bigint() - started) / 1_000_000_000n)} s)`);
  }
}

export function journal(...args) {
  const options = { encoding: 'utf8', maxBuffer: 64 << 20 };
  return execFileSync('journalctl', ['--no-pager', ...args], options);
}

export function failed(error, say) {
  say(`FAILED: ${error.stack}`);
  try {
    console.log(journal('-u', UNIT, '-u', TIERS, '-n', '60', '-o', 'short-monotonic'));
  } catch { /* without a journal the console has to do */ }
  process.exitCode = 1;
}
