// Listens to the agent, and shows what it says. Reads only; there is nothing to press.

// The agent says something every five seconds.
const SILENT_MS = 15_000;
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 10_000;

const rows = new Rows();
const seen = { status: null, timeline: null, marks: [] };
// What both clocks of the host said last, and when that was by this page's own.
const clock = { at: 0, now: 0, heard: performance.now() };
let source = null;
let retryMs = RETRY_MIN_MS;

const sinceHeard = () => performance.now() - clock.heard;
const now = () => clock.now + sinceHeard();
const wall = (moment) => clock.now + (moment - clock.at);
const momentText = (time) => {
  const at = clock.now + time * 1000;
  return `${date(at).slice(15)}, ${ago(at, now())}`;
};

function heard(at, wallNow) {
  if (at !== undefined) clock.at = at;
  clock.now = wallNow;
  clock.heard = performance.now();
  retryMs = RETRY_MIN_MS;
  say('live', 'live');
}

function say(state, words) {
  byId('link').dataset.link = state;
  setText(byId('link'), words);
  if (state === 'live') setText(byId('as-of'), '');
  document.body.classList.toggle('stale', state !== 'live');
}

function render() {
  const { status, timeline } = seen;
  if (!status) return;
  const at = now();
  renderState(status, at);
  renderFacts(status, at);
  renderRollout(timeline, status, at, wall);
  renderLeaving(status, at);
  renderTiers(status, at);
  renderProcesses(status, at);
  renderPipelines(status, at);
  renderBackups(status, at);
  renderEvents(status, at);
  byId('main').classList.remove('waits');
}

function connect() {
  const after = rows.id === null ? '' : `?after=${encodeURIComponent(rows.id)}`;
  source = new EventSource(`/page/events${after}`);
  source.addEventListener('history', (event) => {
    const document = JSON.parse(event.data);
    heard(document.at, document.now);
    rows.add(document);
    Object.assign(seen, { marks: document.marks, timeline: document.rollout });
    drawPlots(rows, seen.marks, document.at);
    render();
  });
  source.addEventListener('status', (event) => {
    seen.status = JSON.parse(event.data);
    // Without the boot clock: it goes on as the other does.
    clock.at += seen.status.now - clock.now;
    heard(undefined, seen.status.now);
    render();
  });
  source.addEventListener('alive', (event) => {
    const { at, now: wallNow } = JSON.parse(event.data);
    heard(at, wallNow);
  });
  source.onerror = () => {
    say('lost', 'disconnected');
    // A browser comes back by itself, but not after an answer that is none.
    if (source.readyState === EventSource.CLOSED) reconnect();
  };
}

function reconnect() {
  source.close();
  setTimeout(connect, retryMs);
  retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
}

setInterval(() => {
  if (sinceHeard() > SILENT_MS && source.readyState === EventSource.OPEN) {
    say('lost', 'disconnected');
    reconnect();
  }
  if (byId('link').dataset.link === 'lost' && seen.status) {
    // Beside what is read out, which would be read out every second.
    setText(byId('as-of'), `, as of ${ago(clock.now, now())}`);
  }
  render();
}, 1000);

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  rebuildPlots(rows);
  render();
});

connect();
