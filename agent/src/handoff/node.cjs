// The preload (NODE_OPTIONS=--require) that lets an unmodified Node app serve from the socket that
// groundcrew holds. It catches `listen()` on PORT, keeps the app on a private unix socket until the
// agent says *accept*, then feeds connections of the shared socket (fd 3) into the app's server,
// bleeds them when the agent says so, and reports what it sees each second.
//
// It must never break the app: nothing here throws into it, blocks it, keeps it alive or buffers
// without bound, and the agent may die, hang or talk nonsense at any moment. In processes that did
// not get the socket themselves (children, worker threads) it does next to nothing.
'use strict';

const fs = require('fs');
const net = require('net');
const path = require('path');
const { channel: diagnostics } = require('diagnostics_channel');
const {
  performance, monitorEventLoopDelay, PerformanceObserver, constants,
} = require('perf_hooks');
const v8 = require('v8');

// Before an app, or what watches it, puts its own in their place.
const { Date: { now: wallNow }, setTimeout } = globalThis;

const SOCKET_FD = 3;
const BACKLOG = 4096;
const LINE_BYTES_MAX = 64 * 1024;
const UNIX_PATH_BYTES_MAX = 107; // sun_path less its final NUL
const RETRY_MS = { min: 50, max: 2000 };
const BLEED_MS_DEFAULT = 30000;
const TIMER_MS_MAX = 2 ** 31 - 1;
const CLOSE_GRACE_MS = 500; // what the deadline finds open has this long to say goodbye
// RFC 6455: a close frame with status 1001, going away.
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9]);
const NOTICE_MS = 1000; // between the two GOAWAY frames of an HTTP/2 session
const REPORT_MS = { busy: 1000, idle: 10000, debounce: 50 };
const CRASH_BYTES_MAX = 500;
const CRASH_NAME_CHARS_MAX = 100;
const CRASH_STACK_BYTES_MAX = 16 * 1024;
const CRASH_BLEED_MS_DEFAULT = 5000;
const PORTS_REPORTED_MAX = 16;
const COMPLAINTS_MAX = 10;
// Bucket i holds times up to 2^(i/40) microseconds; the last one, from 19 hours on, all others.
const BUCKETS_PER_DOUBLING = 40;
const BUCKETS = 1441;
const LAG_RESOLUTION_MS = 20;
// Requests noted for X-Ray between two ticks, and in one line: it stays below LINE_BYTES_MAX also
// when all of them are at their longest.
const NOTES_MAX = 256;
const NOTES_PER_LINE_MAX = 16;
// What choosing the id of a trace can get at most, in times of the share; and at once.
const SAMPLED_TIMES_MAX = 3;
const SAMPLED_AT_ONCE = 20;
const ROOT_ALONE_CHARS = 40; // `Root=` and an id, as load balancers begin a trace
const NOTE_CHARS_MAX = { trace: 512, method: 16, path: 500, host: 255, agent: 200, ip: 64 };
// An ALB keeps idle connections for 60 s by default; the end that closes first must not be ours.
const KEEP_ALIVE_MS = 75000;
const HEADERS_MS = 76000;

const kConnection = Symbol('groundcrew.connection'); // on a socket or HTTP/2 session
const kPutOff = Symbol('groundcrew.putOff'); // on a response: its request waits for the parser
const kHooked = Symbol('groundcrew.hooked');

const { env } = process;
const port = Number(env.PORT);
const holdsSocket = Number(env.LISTEN_PID) === process.pid && Number(env.LISTEN_FDS) >= 1;
const originalListen = net.Server.prototype.listen;

let state = 'starting'; // starting, listening, accepting, bleeding, drained: as in the protocol
let socketInode = null; // of fd 3 while it is ours to open or close
let app = null; // { server, probe }: the app's server and its handle on the private socket
let acceptor = null; // the net.Server that owns fd 3 while accepting
let bleeding = null; // { deadline, timer, lost, result, quietMs, check }
let lull = { since: 0, before: 0 }; // when the last request came, and the one before
let dying = null; // { error } while a crash is being bled

// ---- Containment -------------------------------------------------------------------------------

const complaints = new Set();

// One line on stderr, once per complaint: a bug of ours must be visible, and must not flood a log.
function complain(what, error) {
  const line = `groundcrew: preload could not ${what}: ${(error && error.message) || error}\n`;
  if (complaints.has(line) || complaints.size >= COMPLAINTS_MAX) return;
  complaints.add(line);
  print(line);
}

function print(text) {
  try {
    fs.writeSync(2, text);
  } catch {
    // stderr is closed or full: nobody is left to tell, and the app comes first.
  }
}

const contained = (what, run) => function (argument, another) {
  try {
    return run.call(this, argument, another);
  } catch (error) {
    complain(what, error);
    return undefined;
  }
};

const contain = (what, run) => contained(what, run)();

// ---- The channel to the agent ------------------------------------------------------------------

const channel = { socket: null, open: false, retryMs: RETRY_MS.min, inbox: '', pending: new Map() };

const line = (message) => `${JSON.stringify(message)}\n`;

const hello = () => line({
  type: 'hello', process: env.GROUNDCREW_PROCESS, run: Number(env.GROUNDCREW_RUN),
  pid: process.pid, state, runtime: `node ${process.version}`,
});

function connect() {
  const socket = net.connect(env.GROUNDCREW_CHANNEL);
  const since = performance.now();
  Object.assign(channel, { socket, open: false, inbox: '' });
  socket.unref();
  socket.setEncoding('utf8');
  socket.on('connect', () => {
    channel.open = true;
    socket.write(hello(), flush);
    flush();
  });
  socket.on('data', contained('read the channel', receive));
  socket.on('error', () => {}); // 'close' follows, and retries
  socket.on('close', () => {
    channel.open = false;
    // Only a connection that held resets the backoff: an agent that accepts and drops is away too.
    if (performance.now() - since > RETRY_MS.max) channel.retryMs = RETRY_MS.min;
    const wait = channel.retryMs * (0.5 + Math.random());
    channel.retryMs = Math.min(channel.retryMs * 2, RETRY_MS.max);
    setTimeout(contained('connect to the agent', connect), wait).unref();
  });
}

// At most one line of each kind waits for an agent that is away or does not read.
function send(kind, message) {
  channel.pending.delete(kind);
  channel.pending.set(kind, line(message));
  flush();
}

const writable = () => channel.open && channel.socket.writableLength === 0;

function flush() {
  if (channel.pending.size === 0 || !writable()) return;
  const lines = [...channel.pending.values()].join('');
  channel.pending.clear();
  channel.socket.write(lines, flush);
}

// For a process that may be about to die: past the event loop, which may never turn again (a unix
// socket is connected by the time connect() returns, also when Node has not said so yet).
function sendNow(message) {
  const { socket, open } = channel;
  const fd = socket && socket._handle ? socket._handle.fd : -1;
  if (!(fd >= 0) || socket.writableLength > 0) return;
  fs.writeSync(fd, (open ? '' : hello()) + line(message));
}

function receive(text) {
  const lines = (channel.inbox + text).split('\n');
  channel.inbox = lines.pop();
  // One that cannot be obeyed must not take the next ones with it.
  for (const one of lines) contain('obey the agent', () => obey(one));
  if (channel.inbox.length > LINE_BYTES_MAX) channel.socket.destroy();
}

function obey(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return; // not ours to judge: what is not understood is ignored, as the protocol says
  }
  if (message === null || typeof message !== 'object') return;
  if (message.type === 'accept') accept();
  else if (message.type === 'bleed') {
    bleed(milliseconds(message.within_ms, BLEED_MS_DEFAULT), message.quiet || null);
  }
  else if (message.type === 'shed' && message.connections > 0) shed(message.connections);
}

const milliseconds = (value, otherwise) =>
  Number.isFinite(value) && value >= 0 ? Math.min(value, TIMER_MS_MAX) : otherwise;

// ---- listen() ----------------------------------------------------------------------------------

// What the caller asked for when it is a TCP port: (port[, host][, backlog][, callback]) or
// ({ port, host, signal, ... }[, callback]); undefined for pipes, handles and descriptors.
function tcpWanted(args) {
  const [first, second] = args;
  const last = args[args.length - 1];
  const callback = typeof last === 'function' ? last : undefined;
  if (typeof first === 'number' || (typeof first === 'string' && Number(first) >= 0)) {
    return { port: Number(first), host: typeof second === 'string' ? second : undefined, callback };
  }
  if (first === undefined || first === null || typeof first === 'function') {
    return { port: 0, callback };
  }
  if (typeof first !== 'object' || !('port' in first)) return undefined;
  if (first._handle || first.handle || first.fd >= 0) return undefined;
  return { port: Number(first.port || 0), host: first.host, signal: first.signal, callback };
}

function listen(...args) {
  const wanted = contain('read the arguments of listen', () => tcpWanted(args));
  if (!wanted || this._handle) return originalListen.apply(this, args);
  if (contain('take over listen', () => mayTake(wanted)) !== true) {
    contain('watch listen', () => watch(this, wanted));
    return originalListen.apply(this, args);
  }
  const { signal, callback } = wanted;
  const options = { path: env.GROUNDCREW_PROBE };
  if (signal !== undefined) options.signal = signal;
  originalListen.call(this, options, callback);
  if (this._handle) contain('take over listen', () => take(this, wanted));
  return this;
}

function mayTake(wanted) {
  if (!holdsSocket || wanted.port !== port || app || !ownsDescriptor() || clustered()) return false;
  const file = env.GROUNDCREW_PROBE;
  // Found out here, it is a complaint and the app listens as it would; later it is the app's error.
  if (Buffer.byteLength(file) > UNIX_PATH_BYTES_MAX) throw new Error(`${file} is too long`);
  fs.rmSync(file, { force: true }); // left by a process that was killed
  fs.accessSync(path.dirname(file), fs.constants.W_OK | fs.constants.X_OK);
  return true;
}

// Somebody may have closed fd 3 and something else may sit there now.
function ownsDescriptor() {
  if (socketInode === null) return false;
  const { ino } = fs.fstatSync(SOCKET_FD);
  return ino === socketInode;
}

// The primary of `cluster` binds for its workers and would hand them the private socket.
function clustered() {
  const { isPrimary, workers } = require('cluster');
  return !isPrimary || Object.keys(workers).length > 0;
}

const reported = new Set();

function watch(server, wanted) {
  if (wanted.port === port) {
    // Said before it binds: with the agent on PORT it will hardly succeed, and so may never listen.
    if (!holdsSocket || clustered()) elsewhere(port, true);
  } else if (holdsSocket) {
    server.prependOnceListener('listening', contained('report a port', () => {
      const address = server.address();
      if (address && address.port) elsewhere(address.port, false);
    }));
  }
}

function elsewhere(where, child) {
  if (reported.has(where) || reported.size >= PORTS_REPORTED_MAX) return;
  reported.add(where);
  const message = { type: 'elsewhere', port: where, pid: process.pid, child };
  if (!child) {
    send(`elsewhere ${where}`, message);
    return;
  }
  if (!channel.socket) connect();
  sendNow(message); // most die of EADDRINUSE in this very turn
}

// ---- The app's server --------------------------------------------------------------------------

function take(server, wanted) {
  app = { server, probe: server._handle };
  const host = wanted.host === 'localhost' ? '127.0.0.1' : wanted.host || '::';
  const shown = { address: host, family: net.isIPv4(host) ? 'IPv4' : 'IPv6', port };
  if (!server[kHooked]) hook(server, shown);
  outliveBalancer(server);
  server.prependOnceListener('listening', contained('report the port', () => {
    if (state !== 'starting' || !app) return;
    state = 'listening';
    send('listening', { type: 'listening', port });
  }));
  startReports();
}

function hook(server, shown) {
  const { close, address } = server;
  const listens = () => app !== null && app.server === server && server._handle === app.probe;
  server[kHooked] = true;
  server.address = () => (listens() ? { ...shown } : address.call(server));
  server.close = function (...args) {
    if (listens()) contain('stop accepting', stopServing);
    return close.apply(this, args);
  };
  observe(server);
}

// What the app set itself is different from a fresh server's and stays.
function outliveBalancer(server) {
  if (!('keepAliveTimeout' in server)) return;
  const fresh = new (require('http').Server)();
  const wanted = { keepAliveTimeout: KEEP_ALIVE_MS, headersTimeout: HEADERS_MS };
  for (const [name, ms] of Object.entries(wanted)) {
    if (server[name] === fresh[name] && fresh[name] < ms) server[name] = ms;
  }
}

function accept() {
  if (state === 'listening') {
    if (!ownsDescriptor()) throw new Error('fd 3 is no longer the socket it was');
    acceptor = new net.Server();
    acceptor.on('error', (error) => complain('accept from fd 3', error));
    originalListen.call(acceptor, { fd: SOCKET_FD, backlog: BACKLOG });
    if (!acceptor._handle) {
      acceptor = null; // its 'error' says why
      return;
    }
    acceptor._handle.onconnection = arrive;
    acceptor.unref(); // the app's own handle, on the private socket, decides how long it lives
    socketInode = null; // the handle owns the descriptor from here on
    state = 'accepting';
    requestStart.subscribe(contained('follow a request', requested));
    responseFinish.subscribe(contained('follow a response', responseFinished));
    if (env.GROUNDCREW_CRASH === 'bleed') process.on('uncaughtException', bleedCrash);
  }
  if (state === 'accepting') send('accepting', { type: 'accepting' });
}

let arriving = null;

// Runs Node's own accept code as if the connection had come through the app's handle: options,
// limits and counters are those of the app's server, without a copy of them here.
function arrive(error, client) {
  arriving = client;
  try {
    app.probe.onconnection(error, client);
  } finally {
    arriving = null;
  }
}

// The socket lives on in the agent and the other processes: nothing in its queue is refused.
function stopAccepting() {
  if (acceptor) acceptor.close();
  acceptor = null;
}

// The app closed its server. As long as fd 3 was not opened it may listen again.
function stopServing() {
  stopAccepting();
  if (state === 'listening' || state === 'accepting') state = 'starting';
  app = null;
}

// ---- Connections and requests ------------------------------------------------------------------

// Observed is only what Node offers for observing, so that no frame of ours is in the app's stacks,
// and no listener where Node counts them (one for `upgrade` would change what Node does with it).

const connections = new Set(); // those of the shared socket; the agent's probes are never counted
let inFlight = 0;
// Kept here because channels nobody holds are collected on Node 18, subscribers and all.
const requestStart = diagnostics('http.server.request.start');
const responseFinish = diagnostics('http.server.response.finish');

class Connection {
  constructor(socket, raw) {
    this.socket = socket; // the outermost: TLS replaces it
    this.raw = raw; // of a plain net or tls server, which knows no responses to close after
    this.session = null; // HTTP/2
    this.inFlight = 0;
    this.latest = null; // the response to the newest request
    this.active = 0; // when that came
    this.began = 0; // when the oldest request in flight came; HTTP/1 answers in order
    this.pipelined = []; // and those after it
    this.closing = false; // the next response closes it
  }

  // A WebSocket or the like: no more requests, and only the deadline ends it. Node takes the parser
  // away from a socket that it hands to the app.
  get detached() {
    const { parser } = this.socket;
    return this.session === null && (parser === null || (this.raw && parser === undefined));
  }
}

const websockets = () => [...connections].filter((one) => one.detached).length;

function observe(server) {
  const on = (event, listener) => {
    server.prependListener(event, contained(`follow a ${event}`, listener));
  };
  const http2 = typeof server.updateSettings === 'function'; // its classes are not exported
  const raw = !http2 && !('keepAliveTimeout' in server);
  on('connection', (socket) => {
    if (arriving === null || socket._handle !== arriving) return;
    const connection = new Connection(socket, raw);
    socket[kConnection] = connection;
    connections.add(connection);
    socket.on('close', contained('follow a connection', disconnected));
    connectionsChanged();
    if (bleeding !== null) closeSoon(connection);
  });
  on('secureConnection', (socket) => {
    const connection = socket._parent && socket._parent[kConnection];
    if (!connection) return;
    socket[kConnection] = connection;
    connection.socket = socket;
  });
  if (http2) {
    on('session', (session) => {
      const connection = session.socket[kConnection];
      if (!connection) return;
      connection.session = session;
      session[kConnection] = connection;
      if (connection.closing) closeSession(session);
    });
    on('stream', (stream, headers) => {
      const connection = stream.session && stream.session[kConnection];
      if (!connection) return;
      const began = begin(connection);
      stream.once('close', contained('follow a stream', () => {
        const status = (stream.sentHeaders && stream.sentHeaders[':status']) || 0;
        const ms = end(connection, began, status);
        if (tracing === null || ms < 0 || !isSampled(headers['x-amzn-trace-id'])) return;
        if (!hasRoom()) return;
        const length = stream.sentHeaders && stream.sentHeaders['content-length'];
        note(headers, headers[':method'], headers[':path'], status, ms, length);
      }));
    });
  }
}

// Runs for every request: nothing is hung on requests or responses, and no listener added.
function requested({ socket, response, request }) {
  const connection = socket[kConnection];
  if (connection === undefined || request.httpVersionMajor > 1) return;
  const now = begin(connection);
  if (connection.inFlight === 1) connection.began = now;
  else connection.pipelined.push(now);
  connection.latest = response;
  if (!connection.closing) return;
  if (bleeding !== null && isHealthCheck(request)) lull.since = lull.before;
  closeAfter(connection, response);
  response[kPutOff] = true;
}

function responseFinished({ socket, response, request }) {
  const connection = socket[kConnection];
  if (connection === undefined) return;
  const { began } = connection;
  if (connection.inFlight > 1) connection.began = connection.pipelined.shift();
  const ms = end(connection, began, response.statusCode);
  if (tracing !== null && ms >= 0) trace(request, response, response.statusCode, ms);
}

function begin(connection) {
  connection.active = performance.now();
  connection.inFlight++;
  inFlight++;
  lull.before = lull.since;
  lull.since = connection.active;
  return connection.active;
}

// How long it took, in milliseconds; -1: it was counted before.
function end(connection, began, status) {
  if (connection.inFlight === 0) return -1; // the connection went first, and took it along
  connection.inFlight--;
  inFlight--;
  const ms = performance.now() - began;
  if (status > 0) record(ms, status);
  else totals.aborted++;
  if (bleeding !== null) settle();
  return ms;
}

function disconnected() {
  const connection = this[kConnection];
  connections.delete(connection);
  if (tracing !== null && connection.inFlight > 0) traceUnanswered(connection);
  inFlight -= connection.inFlight;
  totals.aborted += connection.inFlight;
  connection.inFlight = 0;
  connectionsChanged();
  settle();
}

// ---- Closing connections without failing a request ---------------------------------------------

// Never closes an idle connection: the peer may be sending on it. It gets one more response, which
// says that it is the last.
function closeSoon(connection) {
  const { closing, session, latest } = connection;
  if (closing) return;
  connection.closing = true;
  if (session) closeSession(session);
  else if (connection.inFlight > 0 && latest && !latest.headersSent) closeAfter(connection, latest);
  if (app && !app.server[kPutOff]) putOffRequests(app.server);
}

// In two steps, as RFC 9113 (6.8) has it: with the highest stream id GOAWAY is only a notice, and
// streams on their way are served; after more than a round trip come the true id and the end.
function closeSession(session) {
  if (session.destroyed) return;
  session.goaway(0, 2 ** 31 - 1);
  setTimeout(contained('close an HTTP/2 session', () => session.close()), NOTICE_MS).unref();
}

// Requests on closing connections reach the app a turn later, when the parser is through with what
// it has read: of pipelined requests the last one's response closes, and not the first one's.
function putOffRequests(server) {
  const { emit } = server;
  server[kPutOff] = true;
  server.emit = function (name, request, response) {
    if (!response || response[kPutOff] !== true) return emit.apply(this, arguments);
    response[kPutOff] = false; // a listener for checkContinue emits `request` itself
    setImmediate(() => emit.apply(this, arguments));
    return true;
  };
}

// Decided when the headers are written, because a pipelined request may have come in between.
function closeAfter(connection, response) {
  const store = response._storeHeader;
  response._storeHeader = function (...args) {
    const last = connection.latest === this && this.statusCode !== 101;
    if (last) this.shouldKeepAlive = false;
    store.apply(this, args);
    if (!last || this._last) return;
    // The app wrote its own `Connection: keep-alive`, as proxies do.
    this._header = this._header.replace(/^(?:connection|keep-alive):.*\r\n/gim, '')
      .replace(/\r\n$/, 'Connection: close\r\n\r\n');
    this.shouldKeepAlive = false;
    this._last = true;
  };
}

// `wanted` is a level, as the agent sees it: those already marked and still open count.
function shed(wanted) {
  const open = [...connections].filter((one) => !one.detached);
  const free = open.filter((one) => !one.closing);
  const more = Math.max(0, wanted - (open.length - free.length));
  // An idle connection may never ask again: those that asked last go first.
  free.sort((a, b) => b.active - a.active);
  for (const connection of free.slice(0, more)) closeSoon(connection);
}

// With a quiet time the host is leaving: its load balancer has been told, and for a moment still
// sends. What comes is taken and answered, until nothing has come for so long.
function bleed(withinMs, quiet) {
  if (state === 'drained') {
    send('drained', bleeding.result); // the agent asks again after its own restart
    return;
  }
  const now = performance.now();
  if (!bleeding) {
    const lost = { cut: 0, websockets: 0 };
    bleeding = { deadline: Infinity, timer: null, lost, result: null, check: null };
    bleeding.quietMs = Infinity;
    state = 'bleeding';
    if (quiet && !quiet.past_counts) lull.since = now;
    for (const one of connections) contain('bleed a connection', () => closeSoon(one));
  }
  if (!quiet) bleeding.quietMs = null;
  if (bleeding.quietMs === null) stopTaking();
  else bleeding.quietMs = Math.min(bleeding.quietMs, milliseconds(quiet.lasts_ms, 0));
  // A second bleed may only shorten. The deadline is kept here, so that it holds when the agent is
  // gone.
  if (now + withinMs < bleeding.deadline) {
    clearTimeout(bleeding.timer);
    bleeding.deadline = now + withinMs;
    bleeding.timer = setTimeout(contained('end the bleed', cut), withinMs).unref();
  }
  settle();
}

function stopTaking() {
  stopAccepting();
  // Never opened here: closed all the same, or the port would seem alive in this process alone.
  if (contain('check fd 3', ownsDescriptor)) fs.closeSync(SOCKET_FD);
  socketInode = null;
}

function settle() {
  if (state !== 'bleeding') return;
  if (dying !== null) {
    if (inFlight === 0) drained();
  } else if (bleeding.quietMs === null) {
    if (connections.size === 0) drained();
  } else if (inFlight === 0 && websockets() === 0) {
    awaitQuiet();
  }
}

// Idle connections do not count: nothing came on them for so long, and the load balancer knows.
function awaitQuiet() {
  const left = lull.since + bleeding.quietMs - performance.now();
  clearTimeout(bleeding.check);
  if (left > 0) bleeding.check = setTimeout(contained('end the bleed', settle), left).unref();
  else drained();
}

// Load balancers go on checking for a while: that is no request that anybody waits for.
function isHealthCheck(request) {
  const agent = request.headers['user-agent'];
  return typeof agent === 'string' && agent.startsWith('ELB-HealthChecker/');
}

// What the deadline finds is told to go, and has a moment to: a WebSocket's client learns from the
// close frame that nothing it sends from now on arrives, and connects anew.
function cut() {
  stopTaking();
  bleeding.lost = { cut: inFlight, websockets: websockets() };
  const left = [...connections];
  const expire = contained('end the bleed', () => {
    left.forEach(({ socket }) => socket.destroy());
    drained();
  });
  bleeding.timer = setTimeout(expire, CLOSE_GRACE_MS).unref();
  for (const one of left) contain('end a connection', () => endConnection(one));
  settle();
}

function endConnection({ socket, detached, raw }) {
  if (!detached) return socket.destroy();
  if (raw) return socket.destroySoon();
  // The library `ws` knows its own socket, and closes it as the protocol wants.
  const key = Object.getOwnPropertySymbols(socket).find((one) => one.description === 'websocket');
  if (key && socket[key] && typeof socket[key].close === 'function') return socket[key].close(1001);
  // Not end(): the app does not know, and what it still writes would be an error of its own.
  return socket.write(GOING_AWAY);
}

function drained() {
  if (state === 'drained') return;
  clearTimeout(bleeding.timer);
  clearTimeout(bleeding.check);
  stopTaking();
  sendNotes();
  state = 'drained';
  bleeding.result = { type: 'drained', ...bleeding.lost };
  send('drained', bleeding.result);
  if (dying !== null) die();
}

// ---- Crashes -----------------------------------------------------------------------------------

let crashed = false;

// The monitor event changes nothing about what Node does next.
function reportCrash(error) {
  if (crashed) {
    if (dying !== null && dying.error === error) sendNow(crashOf(error, true)); // and now it dies
    return;
  }
  const handlers = process.listeners('uncaughtException');
  const bleeds = handlers.includes(bleedCrash);
  if (handlers.length > Number(bleeds) || process.hasUncaughtExceptionCaptureCallback()) return;
  crashed = true;
  sendNow(crashOf(error, !bleeds));
}

// Once `error.stack` is formatted, V8 forgets where the error was made. Node has looked by the time
// that this event comes, but will look again at an error that is thrown again (see die): then its
// stack has to wait for that.
function crashOf(error, withStack) {
  const text = String(error).split('\n', 1)[0];
  const message = { type: 'crash', message: bytes(text, CRASH_BYTES_MAX) };
  if (!withStack || error === null || typeof error !== 'object') return message;
  const { name, stack } = error;
  if (typeof name === 'string') message.name = name.slice(0, CRASH_NAME_CHARS_MAX);
  if (typeof stack === 'string') message.stack = bytes(stack, CRASH_STACK_BYTES_MAX);
  return message;
}

// The beginning of a text, without half a character at its end.
function bytes(text, max) {
  if (text.length <= max / 3) return text;
  return Buffer.from(text.slice(0, max)).subarray(0, max).toString().replace(/\uFFFD+$/, '');
}

// Opt-in: the process dies as it would have, only after the other requests had their answer.
function bleedCrash(error) {
  if (process.listenerCount('uncaughtException') > 1) return; // the app decides
  if (dying !== null) {
    print(`${(error && error.stack) || String(error)}\n`); // the first one is the cause of death
    return;
  }
  dying = { error };
  try {
    if (state === 'drained') die();
    else bleed(milliseconds(parseInt(env.GROUNDCREW_CRASH_MS, 10), CRASH_BLEED_MS_DEFAULT), null);
    bleeding.timer.ref(); // a process with nothing left to do must not end well
  } catch (problem) {
    complain('bleed after a crash', problem);
    die();
  }
}

function die() {
  const { error } = dying;
  process.removeListener('uncaughtException', bleedCrash);
  // Node prints the source line that an exception was thrown from. Thrown again, it would be this
  // file's; for a rejection it is taken from the error's own stack.
  const native = require('util').types.isNativeError(error);
  if (native && process.listenerCount('unhandledRejection') === 0) Promise.reject(error);
  setImmediate(() => {
    throw error; // whatever --unhandled-rejections says
  });
}

// ---- Reports -----------------------------------------------------------------------------------

const totals = {
  classes: new Uint32Array(6), latency: new Uint32Array(BUCKETS), latencyMs: 0, aborted: 0, any: 0,
  gc: {}, // by kind: { buckets, ms }
};
const report = {
  timer: null, soon: null, at: 0, connections: 0, lag: null, utilization: null, heapLimit: 0,
};

function bucketOf(ms) {
  const bucket = Math.ceil(BUCKETS_PER_DOUBLING * Math.log2(ms * 1000));
  return bucket < 0 ? 0 : bucket >= BUCKETS ? BUCKETS - 1 : bucket;
}

function record(latencyMs, status) {
  totals.latency[bucketOf(latencyMs)]++;
  totals.latencyMs += latencyMs;
  totals.classes[status >= 100 && status < 600 ? (status / 100) | 0 : 0]++;
  totals.any++;
}

function startReports() {
  if (report.timer) return;
  report.at = performance.now();
  report.lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  report.utilization = performance.eventLoopUtilization();
  report.heapLimit = v8.getHeapStatistics().heap_size_limit;
  contain('follow the garbage collector', watchCollector);
  reportLater();
}

// On the whole second, as every other process of the host: the agent is woken once for all of them.
function reportLater() {
  const past = wallNow() % REPORT_MS.busy;
  // A timer that came a little early must not come twice.
  const wait = REPORT_MS.busy - past + (past > REPORT_MS.busy * 0.9 ? REPORT_MS.busy : 0);
  report.timer = setTimeout(contained('report', tick), wait).unref();
}

function watchCollector() {
  const kinds = {
    [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
    [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
    [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
    [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
  };
  new PerformanceObserver(contained('follow the garbage collector', (list) => {
    for (const { duration, detail } of list.getEntries()) collected(kinds[detail.kind], duration);
  })).observe({ entryTypes: ['gc'] });
}

function collected(kind, ms) {
  if (kind === undefined) return;
  const all = totals.gc[kind] || (totals.gc[kind] = { buckets: new Map(), ms: 0 });
  const bucket = bucketOf(ms);
  all.buckets.set(bucket, (all.buckets.get(bucket) || 0) + 1);
  all.ms += ms;
}

function tick() {
  reportLater();
  const busy = totals.any + totals.aborted + inFlight + connections.size > 0;
  if (!busy) report.lag.disable(); // fifty wake-ups a second, for nothing
  if (busy || performance.now() - report.at >= REPORT_MS.idle - REPORT_MS.busy / 2) sendStats();
  sendNotes();
}

// Balancing needs to know soon; the next line will do for small changes.
function connectionsChanged() {
  report.lag.enable();
  if (report.soon) return;
  const change = Math.abs(connections.size - report.connections);
  if (change < 2 || (change <= 4 && change <= report.connections / 10)) return;
  report.soon = setTimeout(contained('report', () => {
    report.soon = null;
    sendStats();
  }), REPORT_MS.debounce).unref();
}

// With nobody to read it everything goes on adding up, and is told later with its true interval.
function sendStats() {
  if (!writable()) return;
  const now = performance.now();
  const status = {};
  totals.classes.forEach((n, i) => {
    if (n > 0 && i > 0) status[`${i}xx`] = n;
  });
  const latency = [];
  totals.latency.forEach((n, i) => {
    if (n > 0) latency.push([i, n]);
  });
  const gc = {};
  for (const [kind, { buckets, ms }] of Object.entries(totals.gc)) {
    gc[kind] = { pairs: [...buckets], sum_us: Math.round(ms * 1000) };
  }
  const memory = process.memoryUsage();
  const utilization = performance.eventLoopUtilization();
  const { utilization: busyShare } = performance.eventLoopUtilization(
    utilization, report.utilization,
  );
  send('stats', {
    type: 'stats', interval_ms: Math.round(now - report.at), status,
    scale: BUCKETS_PER_DOUBLING, latency, latency_sum_us: Math.round(totals.latencyMs * 1000),
    in_flight: inFlight, connections: connections.size, websockets: websockets(),
    aborted: totals.aborted, lag_p50_us: lagUs(50), lag_p99_us: lagUs(99),
    heap_bytes: memory.heapUsed, heap_total_bytes: memory.heapTotal,
    heap_limit_bytes: report.heapLimit, external_bytes: memory.external,
    utilization_ppm: Math.round(busyShare * 1e6), gc,
  });
  totals.classes.fill(0);
  totals.latency.fill(0);
  totals.latencyMs = totals.aborted = totals.any = 0;
  totals.gc = {};
  report.at = now;
  report.connections = connections.size;
  report.utilization = utilization;
  report.lag.reset();
}

// The histogram holds whole intervals between two ticks of a timer.
function lagUs(percentile) {
  const us = report.lag.percentile(percentile) / 1000 - LAG_RESOLUTION_MS * 1000;
  return Math.max(0, Math.round(us));
}

// ---- Traces ------------------------------------------------------------------------------------

// What becomes a segment in X-Ray: `[traces]` of the host's file. A request is looked at when it is
// over, and nothing of it is changed: what the app's own SDK sees and sends stays as it was.
const tracing = tracingWanted(env.GROUNDCREW_TRACES);
const notes = { waiting: [], dropped: 0 };

// `50000`, or `50000 follow`: so many of a million, and whether a decision in the header counts.
function tracingWanted(text) {
  if (!text) return null;
  const [ppm, follow] = text.split(' ');
  const share = Number(ppm) / 1e6;
  if (!(share >= 0)) return null;
  const earns = share * SAMPLED_TIMES_MAX;
  return { below: share * 2 ** 32, earns, credit: SAMPLED_AT_ONCE, follow: follow === 'follow' };
}

// Whoever sends the header chooses its id, and could choose it so that each request is paid for.
// Their own share of all requests, three times over, is what they can get.
function hasCredit() {
  const has = tracing.credit >= 1;
  if (has) tracing.credit--;
  return has;
}

// Decided by the trace's id: every tier that a request comes through decides the same.
function isSampled(header) {
  if (typeof header !== 'string') return Math.random() * 2 ** 32 < tracing.below;
  if (tracing.follow && header.length > ROOT_ALONE_CHARS) {
    const at = header.indexOf('Sampled=');
    const flag = at < 0 ? '' : header[at + 8];
    if (flag === '1' || flag === '0') return flag === '1';
  }
  const at = header.startsWith('Root=1-') ? 0 : header.indexOf('Root=1-');
  const last = at < 0 ? -1 : hexAt(header, at + 32);
  return last < 0 ? Math.random() * 2 ** 32 < tracing.below : last < tracing.below && hasCredit();
}

// Eight digits as a number; -1: they are none.
function hexAt(text, at) {
  let number = 0;
  for (let i = at; i < at + 8; i++) {
    const code = text.charCodeAt(i) | 32; // digits have that bit; past the end it is 32
    const digit = code >= 97 ? code - 87 : code - 48;
    if (!(digit >= 0 && digit < 16) || (code > 57 && code < 97)) return -1;
    number = number * 16 + digit;
  }
  return number;
}

// Not by `request.headers`, which Node only makes for those who ask.
function traceHeader({ rawHeaders }) {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name.length === 15 && (name.charCodeAt(2) | 32) === 97
      && name.toLowerCase() === 'x-amzn-trace-id') return rawHeaders[i + 1];
  }
  return undefined;
}

function trace(request, response, status, ms) {
  tracing.credit = Math.min(tracing.credit + tracing.earns, SAMPLED_AT_ONCE);
  if (!isSampled(traceHeader(request)) || !hasRoom()) return;
  // Routers of frameworks cut off what they have matched, and keep the whole here.
  const url = typeof request.originalUrl === 'string' ? request.originalUrl : request.url;
  const length = response.getHeader('content-length');
  note(request.headers, request.method, url, status, ms, length);
}

// What there is no room for is counted, and costs no more.
function hasRoom() {
  const free = notes.waiting.length < NOTES_MAX;
  if (!free) notes.dropped++;
  return free;
}

// The newest of those that were in flight when the connection went.
function traceUnanswered({ latest, began, pipelined }) {
  if (latest === null || !latest.req) return;
  const since = pipelined.length > 0 ? pipelined[pipelined.length - 1] : began;
  trace(latest.req, latest, 0, performance.now() - since);
}

function note(headers, method, url, status, ms, sentLength) {
  const text = (value, max) => (typeof value === 'string' ? value.slice(0, max) : undefined);
  const length = sentLength === undefined ? NaN : Number(sentLength);
  // The last is the one that the load balancer saw; those before it are what the client says.
  const forwarded = headers['x-forwarded-for'];
  const ip = typeof forwarded === 'string' ? forwarded.slice(-NOTE_CHARS_MAX.ip) : undefined;
  notes.waiting.push({
    trace: text(headers['x-amzn-trace-id'], NOTE_CHARS_MAX.trace),
    method: text(method, NOTE_CHARS_MAX.method),
    path: (text(url, NOTE_CHARS_MAX.path) || '').split(/[?#]/, 1)[0],
    host: text(headers.host || headers[':authority'], NOTE_CHARS_MAX.host),
    https: headers['x-forwarded-proto'] === 'https' || undefined,
    ip: ip && ip.slice(ip.lastIndexOf(',') + 1).trim(),
    agent: text(headers['user-agent'], NOTE_CHARS_MAX.agent),
    status, ended_ms: Date.now(), us: Math.round(ms * 1000),
    bytes: Number.isSafeInteger(length) && length >= 0 ? length : undefined,
  });
}

// What waits goes with the next tick when the agent has not taken what was said before.
function sendNotes() {
  if (notes.waiting.length + notes.dropped === 0 || !channel.open) return;
  if ([...channel.pending.keys()].some((kind) => kind.startsWith('traces'))) return;
  do {
    const requests = notes.waiting.splice(0, NOTES_PER_LINE_MAX);
    const kind = `traces ${notes.waiting.length}`;
    send(kind, { type: 'traces', dropped: notes.dropped, requests });
    notes.dropped = 0;
  } while (notes.waiting.length > 0);
}

// ---- Start -------------------------------------------------------------------------------------

function start() {
  if (!env.GROUNDCREW_CHANNEL || !env.GROUNDCREW_PROBE || !(port > 0)) return;
  if (!require('worker_threads').isMainThread) return;
  if (holdsSocket) {
    const stat = fs.fstatSync(SOCKET_FD);
    if (stat.isSocket()) socketInode = stat.ino;
    else complain('use fd 3', 'it is not a socket');
    process.on('uncaughtExceptionMonitor', contained('report a crash', reportCrash));
    connect();
  }
  net.Server.prototype.listen = listen;
}

contain('start', start);
