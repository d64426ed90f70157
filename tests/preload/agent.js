// A stand-in for the agent: holds a listening socket without accepting from it, starts apps with
// that socket as fd 3 and the preload, and speaks the agent's side of the process channel.
'use strict';

const { spawn, execFileSync } = require('node:child_process');
const { EventEmitter, once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const PRELOAD = path.resolve(__dirname, '../../agent/src/handoff/node.cjs');
const APPS = path.join(__dirname, 'apps');
const CACHE = path.join(process.env.GROUNDCREW_CACHE || '/var/cache/groundcrew-ci', 'node');
const PATIENCE_MS = 20000; // of a test for one event, on a loaded machine
// Perl is part of every Debian and starts in a millisecond.
const LISTEN = ['-e', 'open(SOCKET, "+<&=3") or die $!; listen(SOCKET, 4096) or die $!'];

// Rejects with what was awaited: a bare timeout names no culprit.
function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Agent {
  static async start() {
    const agent = new Agent();
    agent.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'groundcrew-preload-'));
    agent.channelPath = path.join(agent.dir, 'channel.sock');
    agent.processes = [];
    agent.strangers = new EventEmitter(); // processes that were not started here
    agent.stranger = once(agent.strangers, 'elsewhere').then(([message]) => message);
    // Bound here, but a listening Node server would accept: a child calls listen() and leaves.
    agent.handle = net._createServerHandle('127.0.0.1', 0, 4);
    execFileSync('perl', LISTEN, { stdio: ['ignore', 'inherit', 'inherit', agent.handle.fd] });
    const name = {};
    agent.handle.getsockname(name);
    agent.port = name.port;
    await agent.openChannel();
    return agent;
  }

  async openChannel() {
    fs.rmSync(this.channelPath, { force: true });
    this.clients = new Set();
    this.channel = net.createServer((socket) => this.#serve(socket));
    this.channel.listen(this.channelPath);
    await once(this.channel, 'listening');
  }

  // As if the agent was killed.
  async closeChannel() {
    for (const socket of this.clients) socket.destroy();
    this.channel.close();
    await once(this.channel, 'close');
  }

  #serve(socket) {
    this.clients.add(socket);
    socket.on('close', () => this.clients.delete(socket));
    socket.on('error', () => {});
    let rest = '';
    let owner = null;
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const message = JSON.parse(line);
        if (owner === null) {
          owner = this.processes.find((one) => one.child.pid === message.pid) || this.strangers;
          if (owner instanceof Process) owner.socket = socket;
        }
        if (owner instanceof Process) owner.messages.push(message);
        owner.emit(owner instanceof Process ? 'message' : message.type, message);
      }
    });
  }

  // `app`: a file under apps/, or a whole command.
  spawn(node, app, { args = [], env = {}, cwd = APPS, preload = true } = {}) {
    const id = `web.${this.processes.length + 1}.1`;
    const dir = path.join(this.dir, id);
    fs.mkdirSync(dir, { mode: 0o700 });
    const options = preload ? `--require ${PRELOAD}` : '';
    // The shell's pid stays the app's, as with fork and exec.
    const command = Array.isArray(app) ? app : [node, path.join(APPS, app), ...args];
    const shell = 'LISTEN_PID=$$ exec "$@"';
    const child = spawn('/bin/sh', ['-c', shell, 'sh', ...command], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe', this.handle.fd],
      env: {
        HOME: this.dir, PATH: `${path.dirname(node)}:${process.env.PATH}`,
        NODE_PATH: path.join(CACHE, 'node_modules'), NODE_ENV: 'production',
        GROUNDCREW_PROCESS: id, GROUNDCREW_RUN: '1', GROUNDCREW_RELEASE: 'v1',
        GROUNDCREW_CHANNEL: this.channelPath, GROUNDCREW_PROBE: path.join(dir, 'probe.sock'),
        GROUNDCREW_CRASH: 'exit', LISTEN_FDS: '1', LISTEN_FDNAMES: 'web',
        NODE_OPTIONS: options, PORT: String(this.port), ...env,
      },
    });
    const process_ = new Process(child, path.join(dir, 'probe.sock'));
    this.processes.push(process_);
    return process_;
  }

  // Started, and told to accept as the agent would.
  async serving(node, app, options) {
    const one = this.spawn(node, app, options);
    await one.listening();
    await one.accept();
    return one;
  }

  async close() {
    for (const one of this.processes) {
      if (one.child.exitCode === null && one.child.signalCode === null) one.child.kill('SIGKILL');
      await within(one.exit, 'exit after SIGKILL');
    }
    await this.closeChannel();
    this.handle.close();
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

class Process extends EventEmitter {
  constructor(child, probe) {
    super();
    this.setMaxListeners(50);
    Object.assign(this, { child, probePath: probe, messages: [], stdout: '', stderr: '' });
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        this[name] += text;
        this.emit(name);
      });
    }
    this.exit = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  }

  send(message) {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  // The first message, also of those already here, that fits.
  message(type, fits = () => true) {
    return this.#event('message', () => this.messages.find((m) => m.type === type && fits(m)),
      `${type} message`);
  }

  // Like message(), but only of those still to come.
  next(type, fits = () => true) {
    const seen = this.messages.length;
    return this.#event('message',
      () => this.messages.slice(seen).find((m) => m.type === type && fits(m)), `new ${type}`);
  }

  printed(text, name = 'stdout') {
    return this.#event(name, () => this[name].includes(text), `${name} with ${text}`);
  }

  #event(event, look, what) {
    const found = new Promise((resolve) => {
      const check = () => {
        const value = look();
        if (!value) return;
        this.off(event, check);
        resolve(value);
      };
      this.on(event, check);
      check();
    });
    return within(found, what).catch((error) => {
      error.message += `\nstderr: ${this.stderr}\nmessages: ${JSON.stringify(this.messages)}`;
      throw error;
    });
  }

  // The agent learns it from the line itself, or from the state in a later hello.
  listening() {
    return this.message('listening');
  }

  async accept() {
    const accepting = this.next('accepting');
    this.send({ type: 'accept' });
    await accepting;
  }

  async bleed(withinMs, quiet) {
    const drained = this.next('drained');
    this.send({ type: 'bleed', within_ms: withinMs, quiet });
    return drained;
  }

  probe(route = '/') {
    return request({ socketPath: this.probePath, path: route, agent: false });
  }

  // Sums of all stats lines until `enough` holds for the sum.
  async stats(enough) {
    const sum = () => {
      const all = { requests: 0, latencies: 0, aborted: 0, status: {}, last: null };
      for (const one of this.messages.filter((m) => m.type === 'stats')) {
        for (const [name, n] of Object.entries(one.status)) {
          all.requests += n;
          all.status[name] = (all.status[name] || 0) + n;
        }
        for (const [, n] of one.latency) all.latencies += n;
        all.aborted += one.aborted;
        all.last = one;
      }
      return all;
    };
    await this.#event('message', () => sum().last && enough(sum()), 'stats that fit');
    return sum();
  }
}

function request(options, body) {
  const sent = new Promise((resolve, reject) => {
    const outgoing = http.request({ host: '127.0.0.1', ...options }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode, headers: response.headers, text });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
  return within(sent, `answer to ${options.path}`);
}

module.exports = { Agent, APPS, CACHE, PRELOAD, request, within };
