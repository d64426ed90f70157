// Makes the status page: index.html with its style, its script and uPlot in it, and the policy that
// lets a browser run exactly these. The outcome is kept in dist/, so that building the agent needs no
// npm; tests/e2e/page.rs makes it again and compares.
//
//   scripts/setup && node agent/page/build.mjs [DIRECTORY]
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const cache = process.env.GROUNDCREW_CACHE ?? '/var/cache/groundcrew-ci';
const uplot = path.join(cache, 'page', 'node_modules', 'uplot');
const out = process.argv[2] ?? path.join(here, 'dist');

// Without indentation and lines that are comments: the rest is as it was written.
const own = (name) => readFileSync(path.join(here, name), 'utf8')
  .replace(/^\s*\/\/.*\n/gm, '').replace(/^\s+/gm, '').trim();
const theirs = (name) => readFileSync(path.join(uplot, name), 'utf8').trim();

const licence = `/* uPlot: ${theirs('LICENSE').replace(/\s+/g, ' ')} */`;
// One module, in this order: each part uses what is before it.
const parts = ['words.js', 'rows.js', 'plots.js', 'tables.js', 'page.js'].map(own);
const script = ['', licence, theirs('dist/uPlot.iife.min.js'), ...parts, ''].join('\n');
const boot = ['', own('boot.js'), ''].join('\n');
const style = ['', theirs('dist/uPlot.min.css'), own('page.css'), ''].join('\n');

for (const text of [script, boot, style]) {
  // The only text that would end an element early.
  if (/<\/(script|style)|<!--/i.test(text)) throw new Error('a part would end its element');
}

const digest = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const policy = [
  "default-src 'none'",
  `script-src ${digest(boot)} ${digest(script)}`,
  `style-src ${digest(style)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

// Functions: in a string, a dollar sign would mean something.
const html = own('index.html').replace('/* style */', () => style)
  .replace('/* script */', () => script).replace('/* boot */', () => boot);

mkdirSync(out, { recursive: true });
writeFileSync(path.join(out, 'index.html'), `${html}\n`);
writeFileSync(path.join(out, 'content-security-policy.txt'), `${policy}\n`);
