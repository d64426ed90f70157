// Prints numbered JSON lines, each in one write, and tells in a file how many it has printed: what
// a log shipper owes.
//
//   APP_TALLY    directory; the file of this process in it is named after its source number, which
//                no other has, and holds how many lines are out
//   APP_FIRST    the first source number that it tries, 1 unless said
//   APP_RATE     lines a second; 0 (the default): as fast as they are taken
//   APP_SECONDS  after so long it prints no more, and goes on living
//   APP_GO       path; it begins when that exists
//   APP_PAD      bytes in each line beside the rest
//   APP_EMF      when it is set, each line is one of the embedded metric format
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { env } = process;
const rate = Number(env.APP_RATE || 0);
const seconds = Number(env.APP_SECONDS || Infinity);
const pad = 'x'.repeat(Number(env.APP_PAD || 100));
// As aws-embedded-metrics prints them, with as many values as a metric of one line may have.
const values = Array.from({ length: 100 }, (_, i) => i * 1.25);
const emf = (timestamp) => JSON.stringify({
  latency: values,
  service: 'shop é "quoted"',
  _aws: {
    Timestamp: timestamp,
    CloudWatchMetrics: [{
      Namespace: 'shop',
      Dimensions: [['service']],
      Metrics: [{ Name: 'latency', Unit: 'Milliseconds' }],
    }],
  },
});
const FLAT_OUT_LINES = 500;
const EVERY_MS = 20;

let printed = 0;
let began = 0;
const { source, tally } = openTally();

// The number is whoever's comes first: processes are started again under the same name.
function openTally() {
  for (let number = Number(env.APP_FIRST || 1); ; number += 1) {
    try {
      return { source: number, tally: fs.openSync(path.join(env.APP_TALLY, String(number)), 'wx') };
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
  }
}

function print(count) {
  const now = new Date();
  const ts = now.toISOString();
  // Behind the other members, without its own brace.
  const rest = env.APP_EMF ? emf(now.getTime()).slice(1) : `"msg":"${pad}"}`;
  for (let i = 0; i < count; i += 1) {
    console.log(`{"ts":"${ts}","src":${source},"seq":${printed},"level":"info",${rest}`);
    printed += 1;
  }
  // After the lines: what is in the tally is in the log.
  fs.writeSync(tally, String(printed).padStart(12, '0'), 0);
}

function work() {
  const elapsed = (Date.now() - began) / 1000;
  if (elapsed >= seconds) return setInterval(() => {}, 1000);
  if (rate === 0) {
    print(FLAT_OUT_LINES);
    return setImmediate(work);
  }
  const due = Math.floor(elapsed * rate) - printed;
  if (due > 0) print(due);
  return setTimeout(work, EVERY_MS);
}

function start() {
  if (env.APP_GO && !fs.existsSync(env.APP_GO)) return setTimeout(start, EVERY_MS);
  began = Date.now();
  return work();
}

process.on('SIGTERM', () => {
  print(1);
  process.exit(0);
});
start();
