#!/usr/bin/env node
// Stands in for the agent in the harness's own tests: it answers the status that a config file's
// [double] asks for, and leaves a process of its own session behind, as a tier's process is.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const [command, ...rest] = process.argv.slice(2);
if (command !== 'agent') {
  console.error(`the double was asked to ${command} ${rest.join(' ')}`);
  process.exit(command === 'publish' ? 0 : 64);
}

const config = fs.readFileSync(rest[rest.indexOf('--config') + 1], 'utf8');
const said = (key) => (config.match(new RegExp(`^${key} = "(.*)"$`, 'm')) || [])[1];
const orphan = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
const socket = process.env.GROUNDCREW_SOCKET;
fs.mkdirSync(path.dirname(socket), { recursive: true });
fs.rmSync(socket, { force: true });

http.createServer((request, response) => {
  const version = said('release');
  const process = { id: 'web.1.1', pid: orphan.pid, state: 'accepting', restarts: 0 };
  response.end(JSON.stringify({
    state: 'serving',
    release: { version },
    rejected: { version: said('rejected') },
    rollout: null,
    tiers: [{ name: 'web', release: version, ready: 1, wanted: 1, processes: [process] }],
  }));
}).listen(socket);
console.log('the double listens');
