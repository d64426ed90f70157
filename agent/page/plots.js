// The plots: one canvas for each kind of number, all with the same time axis and the same cursor.

const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const WHOLE_STEPS = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();
const KINDS = [
  { key: 'requests', title: 'Requests', unit: '/s', text: count },
  { key: 'errors', title: 'Errors (5xx)', unit: '/s', text: count },
  { key: 'p99', title: 'Latency', text: seconds, pair: 'p50', pairTitle: 'p50 / p99' },
  { key: 'in_flight', title: 'In flight', text: count, steps: WHOLE_STEPS, most: 1 },
  { key: 'delay', title: 'Event-loop delay p99', text: seconds },
  { key: 'memory', title: 'Memory of tiers', text: size, steps: BINARY_STEPS },
  { key: 'backlog', title: 'Log backlog', text: size, steps: BINARY_STEPS, host: true, seldom: true },
  { key: 'cpu', title: 'Host CPU', text: percent, host: true, most: 1, seldom: true },
  { key: 'memory', title: 'Host memory', text: percent, host: true, most: 1, seldom: true },
];
const SERIES_COLOURS = 6;
// How much the plots show: the least that holds everything there is, up to the hour.
const SPANS = [[300, '5 minutes', 60], [900, '15 minutes', 300], [1800, '30 minutes', 600],
  [3600, 'hour', 900]];

const plots = {
  drawn: [],
  layout: '',
  span: SPANS[0][0],
  step: SPANS[0][2],
  marks: [],
  at: 0,
};

const rootPx = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The lines of a plot: whose they are, which colour, which column.
function linesOf(kind, rows) {
  if (kind.host) {
    return [{ name: '', colour: 0, column: rows.host[kind.key] }];
  }
  const several = rows.tiers.size > 1;
  return [...rows.tiers.keys()].sort().flatMap((tier, at) => {
    const of = rows.tiers.get(tier);
    const colour = at % SERIES_COLOURS;
    const line = { name: several ? tier : '', colour, column: of[kind.key] };
    // The lighter line first, and both in one place of the legend.
    return kind.pair ? [{ ...line, column: of[kind.pair], light: true }, line] : [line];
  });
}

const isKnown = (lines) => lines.some((line) => line.column.some((value) => value !== null));

function drawPlots(rows, marks, at) {
  plots.marks = marks;
  plots.at = at;
  const oldest = rows.times.length > 0 ? (at - rows.times[0]) / 1000 : 0;
  const [span, words, step] = SPANS.find(([most]) => oldest <= most) ?? SPANS.at(-1);
  Object.assign(plots, { span, step });
  setText(byId('plots-title'), `Last ${words}`);
  const shown = KINDS.map((kind) => ({ kind, lines: linesOf(kind, rows) }));
  // Some are not measured everywhere; the rest is always there.
  const wanted = shown.filter(({ kind, lines }) => !kind.seldom || isKnown(lines));
  const layout = JSON.stringify(wanted.map(({ kind, lines }) => [kind.key, lines.map((l) => l.name)]));
  if (layout !== plots.layout) build(wanted, layout);
  const times = rows.times.map((time) => (time - at) / 1000);
  plots.drawn.forEach((plot, index) => {
    const { lines } = wanted[index];
    plot.lines = lines;
    plot.chart.setData([times, ...lines.map((line) => line.column)]);
    showValues(plot);
  });
  listMarks(marks, at);
}

function build(wanted, layout) {
  for (const plot of plots.drawn) plot.chart.destroy();
  const box = byId('plots');
  box.dataset.count = wanted.length;
  plots.layout = layout;
  plots.drawn = wanted.map(({ kind, lines }) => {
    const title = element('b', '', kind.title);
    if (kind.pairTitle) title.append(' ', element('small', '', kind.pairTitle));
    const legend = element('div', 'legend');
    const caption = element('figcaption', '', title, legend);
    const values = lines.filter((line) => !line.light).map((line) => {
      const value = element('span', 'value', '-');
      const parts = line.name ? [element('span', 'name', line.name), value] : [value];
      legend.append(element('span', `series c${line.colour}`, ...parts));
      return value;
    });
    const canvas = element('div', 'canvas');
    canvas.setAttribute('aria-hidden', 'true');
    const figure = element('figure', '', caption, canvas);
    return { kind, lines, values, canvas, figure };
  });
  box.replaceChildren(...plots.drawn.map((plot) => plot.figure));
  for (const plot of plots.drawn) {
    plot.chart = new uPlot(options(plot), [[], ...plot.lines.map(() => [])], plot.canvas);
    new ResizeObserver(() => plot.chart.setSize(sizeOf(plot.canvas))).observe(plot.canvas);
  }
}

const sizeOf = (node) => ({ width: node.clientWidth, height: node.clientHeight });

function options(plot) {
  const faint = css('--faint');
  const rem = rootPx();
  const font = `${Math.round(rem * 0.72)}px ${css('--font')}`;
  const grid = { stroke: css('--line'), width: 1 };
  const axis = { stroke: faint, font, ticks: { show: false }, grid };
  return {
    ...sizeOf(plot.canvas),
    padding: [rem, rem * 0.9, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: 'time' },
      drag: { x: false, y: false },
      points: { size: 5 },
      y: false,
    },
    scales: {
      x: { time: false, range: () => [-plots.span, 0] },
      y: { range: (_, __, most) => [0, Math.max(most ?? 0, plot.kind.most ?? 0) * 1.08 || 1] },
    },
    axes: [
      {
        ...axis,
        size: rem * 1.6,
        splits: () => stepsOf(plots.span, plots.step),
        values: (_, splits) => splits.map((split) => (split === 0 ? 'now' : age(split * 1000, 0))),
      },
      {
        ...axis,
        size: rem * 3.3,
        gap: 4,
        space: rem * 1.7,
        ...(plot.kind.steps ? { incrs: plot.kind.steps } : {}),
        values: (_, splits) => splits.map((split) => plot.kind.text(split)),
      },
    ],
    series: [{}, ...plot.lines.map(line)],
    hooks: { draw: [drawMarks], setCursor: [() => showValues(plot)] },
  };
}

function stepsOf(span, step) {
  return Array.from({ length: span / step + 1 }, (_, at) => at * step - span);
}

function line({ colour, light }) {
  const stroke = css(`--series-${colour}`);
  return {
    stroke,
    width: light ? 1 : 1.6,
    dash: light ? [3, 3] : undefined,
    spanGaps: false,
    points: { show: true, size: 3, fill: stroke, filter: alone },
  };
}

// A value with a gap on both sides would not be seen as a line.
function alone(chart, series, show) {
  if (!show) return [];
  const column = chart.data[series];
  const known = (at) => column[at] !== null && column[at] !== undefined;
  return column.flatMap((_, at) => (known(at) && !known(at - 1) && !known(at + 1) ? [at] : []));
}

// A line where a tier began to run a release, or where one was rejected; a tick below where a
// rollout began or settled.
function drawMarks(chart) {
  const { ctx, bbox } = chart;
  const dpr = devicePixelRatio;
  const colours = { current: css('--text'), rejected: css('--bad'), begun: css('--faint') };
  // The newest label has the first choice.
  let free = Infinity;
  ctx.save();
  ctx.font = `${Math.round(rootPx() * 0.72 * dpr)}px ${css('--font')}`;
  ctx.textBaseline = 'bottom';
  ctx.lineWidth = dpr;
  for (const mark of joined(plots.marks).reverse()) {
    const at = (mark.at - plots.at) / 1000;
    if (at < -plots.span) continue;
    const x = Math.round(chart.valToPos(at, 'x', true)) + 0.5;
    const isLine = mark.kind === 'current' || mark.kind === 'rejected';
    ctx.strokeStyle = colours[mark.kind] ?? css('--good');
    ctx.fillStyle = ctx.strokeStyle;
    ctx.globalAlpha = isLine ? 0.55 : 0.9;
    ctx.setLineDash(mark.kind === 'rejected' ? [4 * dpr, 3 * dpr] : []);
    ctx.beginPath();
    ctx.moveTo(x, isLine ? bbox.top : bbox.top + bbox.height - 5 * dpr);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (!isLine) continue;
    const text = cut(mark.version);
    const width = ctx.measureText(text).width;
    // At the edge the label ends where the plot does.
    const left = Math.min(x - width / 2, bbox.left + bbox.width - width);
    if (left + width > free) continue;
    free = left - 6 * dpr;
    ctx.globalAlpha = 1;
    ctx.fillText(text, left, bbox.top - 2 * dpr);
  }
  ctx.restore();
}

const cut = (text) => (text.length > 14 ? `${text.slice(0, 13)}…` : text);

// Tiers that came to a release together make one mark.
function joined(marks) {
  const kept = [];
  for (const mark of marks) {
    const same = kept.find((known) => known.kind === mark.kind && known.version === mark.version &&
      Math.abs(known.at - mark.at) < 10_000);
    if (!same) kept.push({ ...mark, tiers: mark.tier ? [mark.tier] : [] });
    else if (mark.tier) same.tiers.push(mark.tier);
  }
  return kept;
}

const MARK_WORDS = {
  begun: 'began', current: 'took over', settled: 'settled', rejected: 'rejected',
};

function listMarks(marks, at) {
  const releases = new Map();
  for (const mark of joined(marks)) {
    const line = releases.get(mark.version) ?? element('li', '', element('b', '', mark.version));
    const word = element('span', mark.kind, MARK_WORDS[mark.kind] ?? mark.kind);
    line.append(line.childNodes.length > 1 ? ', ' : ' ', word, ' ', ago(mark.at, at));
    releases.set(mark.version, line);
  }
  byId('marks').replaceChildren(...releases.values());
}

// The newest values, or those under the cursor.
function showValues(plot) {
  const index = plot.chart?.cursor.idx;
  const under = index !== null && index !== undefined;
  const words = plot.lines.map(({ column }) => {
    const value = under ? column[index] : column.at(-1);
    const known = value !== null && value !== undefined;
    return known ? plot.kind.text(value) + (plot.kind.unit ?? '') : '-';
  });
  plot.values.forEach((node, at) => {
    setText(node, plot.kind.pair ? `${words[2 * at]} / ${words[2 * at + 1]}` : words[at]);
  });
  const time = under ? plot.chart.data[0][index] : undefined;
  setText(byId('moment'), time === undefined ? '' : momentText(time));
}

function rebuildPlots(rows) {
  plots.layout = '';
  drawPlots(rows, plots.marks, plots.at);
}
