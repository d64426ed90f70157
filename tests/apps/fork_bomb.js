// Starts children that start children, up to APP_FORKS in all: bounded, so that a host without
// cgroups survives the test. Each generation halves what it was given. They live for a minute.
'use strict';

const { spawn } = require('node:child_process');

const budget = Number(process.env.APP_FORKS || 64) - 1;
let left = budget;
for (const share of [Math.ceil(budget / 2), Math.floor(budget / 2)]) {
  if (share <= 0) continue;
  left -= share;
  // Detached: in sessions of their own, which a kill of the process group does not reach.
  const child = spawn(process.execPath, [__filename], {
    env: { ...process.env, APP_FORKS: String(share) },
    stdio: 'ignore',
    detached: true,
  });
  child.on('error', (error) => console.log(`fork refused: ${error.code}`));
}
setTimeout(() => {}, 60_000);
