// What is said in words: everything is made of text nodes, because names and reasons come from
// elsewhere. Nodes that are there stay, so that a selection and a reader's place stay too.

const byId = (id) => document.getElementById(id);

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const show = (node, is) => { node.hidden = !is; };

// Rows as [class, text] or text; columns as [title, class]. A column of class `wide` is left out
// where there is no room for it.
function table(box, caption, columns, rows) {
  let body = box.querySelector('tbody');
  const titles = columns.map(([title]) => title).join();
  if (!body || box.dataset.titles !== titles) {
    const heads = columns.map(([title, className]) => {
      const head = element('th', className ?? '', title);
      head.scope = 'col';
      return head;
    });
    body = element('tbody', '');
    const said = element('caption', 'unseen', caption);
    box.replaceChildren(element('table', '', said, element('thead', '', element('tr', '', ...heads)), body));
    box.dataset.titles = titles;
  }
  fit(body, rows.length, () => {
    const cells = columns.map((_, at) => element(at === 0 ? 'th' : 'td', ''));
    cells[0].scope = 'row';
    return element('tr', '', ...cells);
  });
  rows.forEach((row, at) => {
    row.forEach((cell, column) => {
      const node = body.children[at].children[column];
      const [tone, text] = Array.isArray(cell) ? cell : ['', cell];
      node.className = `${columns[column][1] ?? ''} ${tone}`.trim();
      setText(node, text);
    });
  });
}

function fit(list, length, make) {
  while (list.children.length > length) list.lastChild.remove();
  while (list.children.length < length) list.append(make());
}

// Lines of a list, each with its parts as [class, text].
function lines(list, rows) {
  fit(list, rows.length, () => element('li', ''));
  rows.forEach((parts, at) => {
    const line = list.children[at];
    fit(line, parts.length, () => element('span', ''));
    parts.forEach(([className, text], part) => {
      line.children[part].className = className;
      setText(line.children[part], text);
    });
  });
}

const TONES = {
  serving: 'good', starting: 'caution', draining: 'caution', degraded: 'bad', stopped: '',
  accepting: 'good', bleeding: 'caution', stopping: 'caution', backoff: 'bad', crashed: 'bad',
  normal: '', warning: 'caution', error: 'bad',
};
const tone = (word) => TONES[word] ?? '';
const EVENTS_SHOWN = 12;
const STUCK_AFTER_MS = 15 * 60_000;

function isRolledBack(status) {
  return Boolean(status.rejected && status.desired && status.rejected.digest === status.desired.digest);
}

function renderState(status, now) {
  const rolledBack = isRolledBack(status) && status.state === 'serving';
  const words = rolledBack ? `serving (${status.rejected.version} rolled back)` : status.state;
  const colour = rolledBack ? 'caution' : tone(status.state);
  setText(byId('state'), words);
  byId('state').className = colour;
  setText(byId('since'), `since ${date(status.since)}; ${ago(status.since, now)}`);
  setText(byId('reason'), status.reason ?? '');
  const failing = status.state === 'degraded' || isRolledBack(status);
  show(byId('next'), failing);
  setText(byId('next').lastElementChild, status.next ?? 'groundcrew logs --since 10m');
  setText(byId('host'), status.host.instance_id ?? status.host.name);
  setText(byId('where'), `${status.environment} · ${status.source}`);
  const title = `${words} · ${status.host.instance_id ?? status.host.name}`;
  if (document.title !== title) document.title = title;
  icon(colour);
}

// The tab says it too.
function icon(colour) {
  const fill = css(colour ? `--${colour}` : '--faint');
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6" fill="${fill}"/></svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  if (byId('icon').getAttribute('href') !== href) byId('icon').setAttribute('href', href);
}

function renderFacts(status, now) {
  const release = (of) => [of.version, of.digest.slice(0, 7)];
  const facts = [];
  const { release: current, desired, previous, rejected, lifecycle, disk } = status;
  facts.push(['Release', ...(current ? release(current) : ['none yet', '']),
    current ? ago(current.since, now) : '']);
  if (desired) {
    const same = current && current.digest === desired.digest;
    facts.push(['Desired', ...(same ? [desired.version, '', 'as it runs'] : [...release(desired), ''])]);
  }
  if (previous) facts.push(['Previous', ...release(previous), 'kept for rollback']);
  if (rejected) facts.push(['Rejected', ...release(rejected), ago(rejected.at, now), rejected.reason]);
  if (lifecycle?.state ?? lifecycle?.target) {
    facts.push(['Group', lifecycle.group ?? '', lifecycle.state ?? lifecycle.target, '']);
  }
  const { last_ok: lastOk, error } = status.source_status;
  if (error) facts.push(['Source', lastOk ? `last answered ${ago(lastOk, now)}` : 'silent', '', '', error]);
  if (lifecycle?.metadata_error) facts.push(['Metadata', 'silent', '', '', lifecycle.metadata_error]);
  if (lifecycle?.api_error) facts.push(['AWS', 'refuses', '', '', lifecycle.api_error]);
  facts.push(['Disk', `${size(disk.releases_bytes)} releases, ${size(disk.logs_bytes)} logs`, '', '']);
  const list = byId('facts');
  fit(list, facts.length, () => {
    const parts = ['main', 'faint code', 'faint', 'why'].map((name) => element('span', name));
    return element('div', '', element('dt', ''), element('dd', '', ...parts));
  });
  facts.forEach(([name, ...parts], at) => {
    const [head, body] = list.children[at].children;
    setText(head, name);
    list.children[at].className = parts[3] ? 'whole' : '';
    head.className = name === 'Rejected' || parts[3] ? 'bad' : '';
    for (let part = 0; part < 4; part += 1) setText(body.children[part], parts[part] ?? '');
  });
}

function renderTiers(status, now) {
  const columns = [['Tier'], ['State'], ['Release', 'wide'], ['Ready', 'number'], ['In flight', 'number wide'],
    ['Req/s', 'number'], ['p99', 'number'], ['5xx/min', 'number'], ['Restarts', 'number wide'],
    ['Age', 'number wide']];
  const rows = status.tiers.map((tier) => {
    const asked = (text) => (tier.port === null ? '-' : text);
    const restarted = tier.restarts > 0 && tier.last_restart !== null;
    return [
      tier.name,
      [tone(tier.state), tier.state],
      tier.release ?? '-',
      [tier.ready < tier.wanted ? 'caution' : '', `${tier.ready}/${tier.wanted}`],
      asked(count(tier.in_flight)),
      asked(count(tier.requests_per_second)),
      tier.p99_us === null ? '-' : seconds(tier.p99_us / 1e6),
      [tier.errors_per_minute > 0 ? 'caution' : '', asked(count(tier.errors_per_minute))],
      restarted ? `${tier.restarts} (${ago(tier.last_restart, now)})` : String(tier.restarts),
      age(tier.since, now),
    ];
  });
  table(byId('tiers'), 'Tiers', columns, rows);
}

function renderProcesses(status, now) {
  const processes = status.tiers.flatMap((tier) => tier.processes);
  const explained = processes.some((process) => process.reason);
  const columns = [['Process'], ['PID', 'number wide'], ['State'], ['Probe', 'wide'],
    ['Memory', 'number'], ['CPU', 'number'], ['Loop delay', 'number'], ['Conns', 'number wide'],
    ['Age', 'number wide']];
  if (explained) columns.push(['Reason', 'why wide']);
  const known = (value, text) => (value === null ? '-' : text(value));
  const rows = processes.map((process) => {
    const { probe } = process;
    const answered = probe && (probe.ok ? 'ok' : probe.detail || 'failed');
    const row = [
      process.id,
      known(process.pid, String),
      [tone(process.state), process.state],
      probe ? [probe.ok ? '' : 'bad', `${answered} ${ago(probe.at, now)}`] : '-',
      known(process.rss_bytes, size),
      known(process.cpu_percent, (share) => `${share}%`),
      known(process.loop_lag_us, (us) => seconds(us / 1e6)),
      count(process.connections),
      age(process.since, now),
    ];
    return explained ? [...row, process.reason ?? ''] : row;
  });
  table(byId('processes'), 'Processes', columns, rows);
}

function renderPipelines(status, now) {
  show(byId('pipelines-section'), status.pipelines.length > 0);
  const stuck = (of) => of.reason && of.oldest_ms !== null && of.oldest_ms > STUCK_AFTER_MS;
  const columns = [['Pipeline'], ['Sent/s', 'number'], ['Backlog', 'number'], ['Oldest', 'number'],
    ['Last ok', 'number'], ['Dropped', 'number'], ['Rejected', 'number wide'], ['Reason', 'why wide']];
  const rows = status.pipelines.map((of) => [
    of.name,
    count(of.sent_per_second),
    size(of.backlog_bytes),
    [stuck(of) ? 'bad' : '', of.oldest_ms === null ? '-' : age(0, of.oldest_ms)],
    of.last_ok === null ? '-' : ago(of.last_ok, now),
    [of.dropped > 0 ? 'bad' : '', count(of.dropped)],
    [of.rejected > 0 ? 'bad' : '', count(of.rejected)],
    of.reason ?? '',
  ]);
  table(byId('pipelines'), 'Pipelines', columns, rows);
}

const JOB_TONES = { ok: 'good', running: 'caution', failing: 'bad', unknown: '' };

// The jobs of backups, those that fail first.
function renderBackups(status, now) {
  const jobs = status.backups ?? [];
  show(byId('backups-section'), jobs.length > 0);
  const columns = [['Job'], ['State'], ['Last good'], ['Proved'], ['Verified', 'wide'], ['Next', 'number'],
    ['Late', 'number'], ['Reason', 'why wide']];
  const failing = (job) => job.state === 'failing';
  const rows = [...jobs.filter(failing), ...jobs.filter((job) => !failing(job))].map((job) => {
    const { last_good: good, last_verified: verified } = job;
    const refuted = good?.refuted[0];
    return [
      job.name,
      [JOB_TONES[job.state] ?? '', job.state],
      good ? ago(good.slot, now) : '-',
      refuted ? ['bad', `not ${refuted}`] : good?.level ?? '-',
      verified ? `${verified.level} ${ago(verified.at, now)}` : '-',
      job.next === null ? '-' : `in ${age(now, job.next)}`,
      [job.late_ms === null ? '' : 'caution', job.late_ms === null ? '-' : age(0, job.late_ms)],
      job.reason ?? '',
    ];
  });
  table(byId('backups'), 'Backups', columns, rows);
}

function renderLeaving(status, now) {
  const { notices = [], drain = null, hooks = [] } = status.lifecycle ?? {};
  show(byId('leaving'), notices.length > 0 || drain !== null || hooks.length > 0);
  const said = notices.map((notice) => {
    const left = notice.deadline === null ? '' : notice.deadline > now
      ? `; ${age(now, notice.deadline)} left` : '; its time is up';
    return [['', notice.text], ['faint', `${ago(notice.at, now)}${left}`]];
  });
  if (drain) {
    const took = drain.ended === null ? `for ${age(drain.since, now)}` : `took ${age(drain.since, drain.ended)}`;
    said.push([['', `drain ${took}`], [drain.cut > 0 ? 'bad' : 'faint', `${drain.cut} requests cut`]]);
  }
  for (const hook of hooks) {
    const done = hook.result === null ? 'holds the instance' : `${hook.result}${hook.confirmed ? '' : ', on its way'}`;
    said.push([['', `hook ${hook.name}`], ['faint', `${done} ${hook.reason ?? ''}`]]);
  }
  lines(byId('leaving').querySelector('.notices'), said);
  const steps = (drain?.steps ?? []).slice(-20);
  lines(byId('leaving').querySelector('.steps'), steps.map((step) => [
    ['when', `+${lasted(step.after_ms)}`], ['', step.text],
  ]));
}

function renderEvents(status, now) {
  const rows = status.events.map((event) => [
    ['when', ago(event.at, now)], [`level ${tone(event.level)}`, event.level], ['', event.text],
  ]);
  const shown = rows.slice(0, EVENTS_SHOWN);
  const earlier = rows.slice(EVENTS_SHOWN);
  lines(byId('events'), shown.length > 0 ? shown : [[['faint', 'nothing yet']]]);
  show(byId('earlier'), earlier.length > 0);
  setText(byId('earlier').firstElementChild, `${earlier.length} earlier`);
  lines(byId('earlier').lastElementChild, earlier);
}

const STAGE_WORDS = {
  fetching: 'fetching', starting: 'starting', cutover: 'cutting over', trial: 'on trial',
  'rolling-back': 'rolling back',
};

// The stages of the rollout under way, or of the last one; `wall` makes times of the boot clock
// into times for people.
function renderRollout(timeline, status, now, wall) {
  show(byId('rollout'), timeline !== null);
  if (!timeline) return;
  const { ended } = timeline;
  const until = ended ? wall(ended.at) : now;
  const outcome = ended ? ended.outcome : 'under way';
  setText(byId('rollout-title'), `Rollout of ${timeline.version}`);
  const ends = timeline.stages.map((_, at) => timeline.stages[at + 1]).map((next) => (
    next ? wall(next.at) : until
  ));
  const stages = timeline.stages.map(({ stage, at }, index) => {
    const live = !ended && index === timeline.stages.length - 1;
    return [STAGE_WORDS[stage] ?? stage, lasted(ends[index] - wall(at)), live ? 'live' : 'done', stage];
  });
  const last = { settled: 'good', rejected: 'bad' }[outcome] ?? '';
  if (ended) stages.push([outcome, ago(until, now), `end ${last}`, outcome]);
  const list = byId('rollout').querySelector('.stages');
  fit(list, stages.length, () => element('li', '', element('b', ''), element('span', '')));
  stages.forEach(([words, took, className, stage], at) => {
    const node = list.children[at];
    node.className = className;
    node.dataset.stage = stage;
    setText(node.children[0], words);
    setText(node.children[1], took);
  });
  const detail = ended?.reason ?? (ended ? '' : status.rollout?.detail ?? '');
  setText(byId('rollout').querySelector('.detail'), detail);
}
