// An agent with a source, an app under load and a control socket, all in one directory.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);
const ENVIRONMENT = 'production';
const TIERS = { api: { slowMs: 9 }, web: { slowMs: 4 } };

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, condition, ms = 40_000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      last = await condition();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}: ${last}`);
    await sleep(100);
  }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class World {
  static async open(binary) {
    const world = new World();
    world.binary = binary;
    world.top = fs.mkdtempSync(path.join(os.tmpdir(), 'gc-page-'));
    fs.chmodSync(world.top, 0o755);
    fs.mkdirSync(path.join(world.top, 'source'));
    world.port = await freePort();
    world.ports = {};
    for (const tier of Object.keys(TIERS)) world.ports[tier] = await freePort();
    world.failed = 0;
    world.answered = 0;
    world.config('loopback');
    return world;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  config(page) {
    const { top } = this;
    fs.writeFileSync(path.join(top, 'groundcrew.toml'), `environment = "${ENVIRONMENT}"
source = "file://${top}/source"
state_dir = "${top}/state"
run_dir = "${top}/run"
[poll]
interval = "1s"
[http]
listen = "127.0.0.1:${this.port}"
page = "${page}"
[logs.to]
kind = "none"
`);
  }

  cli(...args) {
    const env = { ...process.env, GROUNDCREW_SOCKET: path.join(this.top, 'run/control.sock') };
    return run(this.binary, args, { env });
  }

  // Publishes a release and promotes it.
  async release(version, env = {}) {
    const home = path.join(this.top, 'build', version);
    fs.mkdirSync(home, { recursive: true });
    fs.copyFileSync(path.join(here, 'app/server.js'), path.join(home, 'server.js'));
    const tiers = Object.entries(TIERS).map(([name, { slowMs }]) => {
      const all = { APP_SLOW_MS: String(slowMs), ...env };
      const pairs = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
      return `[tier.${name}]
command = ["node", "server.js"]
port = ${this.ports[name]}
processes = 2
ready = { path = "/health", within = "20s" }
bleed = "2s"
stop = "2s"
env = { ${pairs.join(', ')} }
`;
    });
    fs.writeFileSync(path.join(home, 'release.toml'), `${tiers.join('')}[trial]\nfor = "4s"\n`);
    const source = `file://${this.top}/source`;
    await this.cli('publish', home, '--source', source, '--version', version);
    await this.cli('promote', version, '--source', source, '--environment', ENVIRONMENT);
  }

  startAgent() {
    const log = fs.openSync(path.join(this.top, 'agent.log'), 'a');
    const args = ['agent', '--config', path.join(this.top, 'groundcrew.toml')];
    this.agent = spawn(this.binary, args, { stdio: ['ignore', log, log] });
    fs.closeSync(log);
  }

  // As a crash would: what it runs goes on.
  async killAgent() {
    this.agent.kill('SIGKILL');
    await once(this.agent, 'exit');
  }

  status() {
    return this.ask('/v1/status');
  }

  history() {
    return this.ask('/v1/history');
  }

  ask(target) {
    return new Promise((resolve, reject) => {
      const socketPath = path.join(this.top, 'run/control.sock');
      const request = http.get({ socketPath, path: target }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part) => { text += part; });
        response.on('end', () => resolve(JSON.parse(text)));
      });
      request.on('error', reject);
    });
  }

  settled(version) {
    return until(`${version} settled`, async () => {
      const status = await this.status();
      const serves = status.state === 'serving' && status.release?.version === version;
      return serves && status.rollout === null && status;
    });
  }

  // Asks both tiers, about `perSecond` times in all, until the world ends.
  load(perSecond) {
    const agents = Object.values(this.ports).map((port) => (
      { port, agent: new http.Agent({ keepAlive: true, maxSockets: 16 }) }
    ));
    let turn = 0;
    this.loading = setInterval(() => {
      for (let asked = 0; asked < perSecond / 50; asked += 1) {
        turn += 1;
        // The first tier gets a third of it.
        const { port, agent } = agents[turn % 3 === 0 ? 0 : 1];
        const request = http.get({ port, agent, path: '/order' }, (response) => {
          this.answered += 1;
          response.resume();
        });
        request.on('error', () => { this.failed += 1; });
      }
    }, 20);
  }

  async close() {
    clearInterval(this.loading);
    const status = await this.status().catch(() => ({ tiers: [] }));
    const pids = status.tiers.flatMap((tier) => tier.processes).map((process) => process.pid);
    if (this.agent && this.agent.exitCode === null && this.agent.signalCode === null) {
      const gone = once(this.agent, 'exit');
      this.agent.kill('SIGTERM');
      await Promise.race([gone, sleep(15_000)]);
      this.agent.kill('SIGKILL');
    }
    for (const pid of pids.filter(Boolean)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended, as it should.
      }
    }
    fs.rmSync(this.top, { recursive: true, force: true });
  }
}
