// A queue worker: no port. Appends a line to APP_JOBS for each job it began and finished, so that
// a test can see whether one was cut in the middle.
//
//   APP_JOBS     path of the file
//   APP_SIGTERM  graceful | ignore
'use strict';

const fs = require('node:fs');

const name = process.env.GROUNDCREW_PROCESS || String(process.pid);
let stopping = false;
let number = 0;

function note(word) {
  const line = `${name} ${word} ${number}\n`;
  if (process.env.APP_JOBS) fs.appendFileSync(process.env.APP_JOBS, line);
  process.stdout.write(line);
}

function work() {
  number += 1;
  note('began');
  setTimeout(() => {
    note('finished');
    if (stopping) process.exit(0);
    setImmediate(work);
  }, 100);
}

process.on('SIGTERM', () => {
  stopping = process.env.APP_SIGTERM !== 'ignore';
});
work();
