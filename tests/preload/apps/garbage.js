// Makes garbage of every kind when asked, holds a large buffer, and can be busy.
'use strict';

const held = Buffer.alloc(20 * 2 ** 20 + 1);

function waste() {
  // Lives through two collections of what is young, so that the old heap grows too.
  let kept = [];
  for (let i = 0; i < 3e6; i++) {
    kept.push({ i });
    if (kept.length > 3e5) kept = [];
  }
  return kept.length;
}

require('http').createServer((req, res) => {
  const { searchParams } = new URL(req.url, 'http://app');
  const until = Date.now() + Number(searchParams.get('ms'));
  if (req.url.startsWith('/busy')) while (Date.now() < until);
  else for (let i = 0; i < 4; i++) waste();
  res.end(String(held.length));
}).listen(process.env.PORT);
