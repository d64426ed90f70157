// What the test files share: which Node versions, and clients that behave as real ones do.
'use strict';

const { describe } = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const http = require('node:http');
const net = require('node:net');
const { Agent, request, within } = require('./agent.js');

const NODES = (process.env.GROUNDCREW_NODES || process.execPath).split(':').map((binary) => {
  const version = execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim();
  return { binary, version, major: Number(version.slice(1).split('.')[0]) };
});

const perNode = (name, define) => {
  for (const node of NODES) describe(`${name}, node ${node.version}`, () => define(node));
};

// Ends with the agent and all its processes gone, and nothing said on stderr unless expected.
async function withAgent(run, { stderr = /^$/ } = {}) {
  const agent = await Agent.start();
  try {
    await run(agent);
    for (const one of agent.processes) assert.match(one.stderr, stderr);
  } finally {
    await agent.close();
  }
}

const keepAlive = () => new http.Agent({ keepAlive: true, maxSockets: 1 });

// A bare HTTP/1.1 connection, for what http.Agent would hide.
class Raw {
  constructor(port) {
    this.socket = net.connect(port, '127.0.0.1');
    this.text = '';
    this.waiting = [];
    this.socket.setEncoding('utf8');
    this.socket.on('error', () => {});
    this.socket.on('data', (text) => {
      this.text += text;
      this.#check();
    });
    this.closed = new Promise((resolve) => this.socket.on('close', resolve)).then(() => {
      this.ended = true;
      this.#check();
    });
  }

  #check() {
    this.waiting = this.waiting.filter(({ fits, resolve, reject }) => {
      if (fits(this.text)) resolve(this.text);
      else if (this.ended) reject(new Error(`closed after ${JSON.stringify(this.text)}`));
      else return true;
      return false;
    });
  }

  get(path) {
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: app\r\n\r\n`);
  }

  until(fits) {
    const seen = new Promise((resolve, reject) => {
      this.waiting.push({ fits, resolve, reject });
      this.#check();
    });
    return within(seen, 'text on a connection');
  }

  // How many responses there are, judged by their status lines.
  responses(n) {
    return this.until((text) => text.split('HTTP/1.1 ').length > n && complete(text));
  }
}

// All but the last response are whole when another follows; the last by its length or last chunk.
function complete(text) {
  const last = text.slice(text.lastIndexOf('HTTP/1.1 '));
  const at = last.indexOf('\r\n\r\n');
  if (at < 0) return false;
  const length = /^content-length: (\d+)/im.exec(last);
  return length ? last.length - at - 4 >= Number(length[1]) : last.endsWith('0\r\n\r\n');
}

module.exports = { NODES, perNode, withAgent, keepAlive, Raw, request, within };
