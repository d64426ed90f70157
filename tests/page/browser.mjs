// Debian's Chromium, driven by Playwright. Counts what a page must not do.
import { createRequire } from 'node:module';
import path from 'node:path';

const cache = process.env.GROUNDCREW_CACHE ?? '/var/cache/groundcrew-ci';
const require = createRequire(path.join(cache, 'browser', 'package.json'));
const { chromium } = require('playwright-core');

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launch() {
  return chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args: ARGUMENTS });
}

// A page at `url` that has shown something, with what it complained about and whom it asked.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const found = { complaints: [], elsewhere: [] };
  page.on('pageerror', (error) => found.complaints.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) found.complaints.push(message.text());
  });
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:' && host !== new URL(url).host) found.elsewhere.push(request.url());
  });
  await page.goto(url);
  await page.waitForSelector('main:not(.waits)');
  return { context, page, found };
}

export const text = (page, selector) => page.locator(selector).innerText();
