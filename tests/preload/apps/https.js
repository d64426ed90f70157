'use strict';

const fs = require('fs');

const options = { key: fs.readFileSync(process.env.KEY), cert: fs.readFileSync(process.env.CERT) };
const answer = (req, res) => setTimeout(() => res.end(`HTTP/${req.httpVersion}`), 5);
const server = process.env.HTTP2
  ? require('http2').createSecureServer(options, answer)
  : require('https').createServer(options, answer);
server.listen(process.env.PORT);
