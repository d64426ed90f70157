// Measures what the preload costs and how even it shares connections; prints one JSON line each.
//   node measure.js throughput [node] [rounds]    two processes on one socket: bare, ours, traced
//   node measure.js balance [node] [runs]         64 keep-alive connections over two processes
//   node measure.js idle [node]                   CPU of an idle process over 20 s
'use strict';

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { promisify } = require('node:util');
const { Agent } = require('./agent.js');

const ROUND_S = 3;
const HEADERS = path.join(__dirname, 'headers.lua');
const run = promisify(execFile);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

// utime + stime in clock ticks of 10 ms.
function cpuMs(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

async function wrk(port, seconds) {
  const args = ['-t1', '-c32', `-d${seconds}s`, '-s', HEADERS, `http://127.0.0.1:${port}/`];
  const { stdout } = await run('wrk', args);
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]),
    requests: Number(/(\d+) requests in/.exec(stdout)[1]) };
}

// Rounds alternate so that what else runs on the machine hits all alike; CPU per request is
// compared too, because it does not care about the others. `traced` takes down one request in
// twenty, of headers as a load balancer sends them.
async function throughput(node, rounds = 10) {
  const ways = {
    bare: { preload: false, env: { BARE: '1' } },
    ours: {},
    traced: { env: { GROUNDCREW_TRACES: '50000' } },
  };
  const names = Object.keys(ways);
  const sides = {};
  for (const name of names) {
    const agent = await Agent.start();
    const pair = [];
    for (let i = 0; i < 2; i++) {
      const one = agent.spawn(node, 'trivial.js', ways[name]);
      pair.push(one);
      if (name === 'bare') continue;
      await one.listening();
      await one.accept();
    }
    sides[name] = { agent, pair, rates: [], cpus: [] };
    await wrk(agent.port, 3);
  }
  for (let i = 0; i < rounds; i++) {
    for (const at of names.keys()) {
      const { agent, pair, rates, cpus } = sides[names[(at + i) % names.length]];
      const spent = () => pair.reduce((sum, one) => sum + cpuMs(one.child.pid), 0);
      const before = spent();
      const { rate, requests } = await wrk(agent.port, ROUND_S);
      rates.push(rate);
      cpus.push(((spent() - before) * 1000) / requests);
    }
  }
  const { bare } = sides;
  const compared = ({ rates, cpus }) => ({
    ratio: median(rates.map((rate, i) => rate / bare.rates[i])),
    cpu_ratio: median(cpus.map((cpu, i) => bare.cpus[i] / cpu)),
    per_s: median([...rates]), cpu_us: median([...cpus]),
  });
  console.log(JSON.stringify({
    measure: 'throughput', node, rounds, ours: compared(sides.ours),
    traced: compared(sides.traced), bare: compared(bare),
  }));
  for (const { agent } of Object.values(sides)) await agent.close();
}

// The simplest balancer: whoever reports more than 1.1 times the mean sheds what is above it.
function balance(processes) {
  const held = new Map();
  for (const one of processes) {
    one.on('message', (message) => {
      if (message.type !== 'stats') return;
      held.set(one, message.connections);
      const mean = [...held.values()].reduce((a, b) => a + b, 0) / processes.length;
      if (message.connections <= 1.1 * mean) return;
      one.send({ type: 'shed', connections: Math.round(message.connections - mean) });
    });
  }
  return held;
}

async function client(port, agent, until) {
  while (!until.stop) {
    await new Promise((resolve, reject) => {
      http.get({ port, host: '127.0.0.1', agent }, (res) => res.resume().on('end', resolve))
        .on('error', reject);
    });
    await sleep(20);
  }
}

async function balanceRun(node, connections) {
  const agent = await Agent.start();
  const one = () => agent.serving(node, 'trivial.js');
  const processes = await Promise.all([one(), one()]);
  const held = balance(processes);
  const until = { stop: false };
  const pools = [];
  const clients = [];
  for (let i = 0; i < connections; i++) {
    const pool = new http.Agent({ keepAlive: true, maxSockets: 1 });
    pools.push(pool);
    clients.push(client(agent.port, pool, until));
  }
  await sleep(200);
  const early = Math.max(...held.values());
  await sleep(800);
  until.stop = true;
  const share = connections / processes.length;
  const result = { early: early / share, after1s: Math.max(...held.values()) / share };
  await Promise.all(clients);
  for (const pool of pools) pool.destroy();
  await agent.close();
  return result;
}

async function balanced(node, runs = 20) {
  const results = [];
  for (let i = 0; i < runs; i++) results.push(await balanceRun(node, 64));
  const after = results.map((one) => one.after1s);
  console.log(JSON.stringify({
    measure: 'balance', node, runs, max: Math.max(...after), median: median([...after]),
    max_at_200ms: Math.max(...results.map((one) => one.early)), after,
  }));
}

async function idle(node) {
  const agent = await Agent.start();
  const one = await agent.serving(node, 'trivial.js');
  const bare = agent.spawn(node, 'plain.js', { preload: false, env: { PORT: '0' } });
  await bare.printed('address');
  await sleep(2000);
  const before = [cpuMs(one.child.pid), cpuMs(bare.child.pid)];
  await sleep(20000);
  const after = [cpuMs(one.child.pid), cpuMs(bare.child.pid)];
  console.log(JSON.stringify({
    measure: 'idle', node, cpu_percent: (after[0] - before[0]) / 200,
    bare_cpu_percent: (after[1] - before[1]) / 200,
  }));
  await agent.close();
}

const [what, node = process.execPath, times] = process.argv.slice(2);
const measures = { throughput, balance: balanced, idle };
measures[what](node, times && Number(times)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
