// Numbers and times as `groundcrew status` writes them.

const AGES = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];

// The two largest units: 1d2h, 4m12s, 3s. Never negative.
function age(fromMs, toMs) {
  const seconds = Math.max(0, Math.floor((toMs - fromMs) / 1000));
  let first = AGES.findIndex(([, unit]) => seconds >= unit);
  if (first < 0) first = AGES.length - 1;
  const [name, unit] = AGES[first];
  const smaller = AGES[first + 1];
  const rest = smaller ? Math.floor((seconds % unit) / smaller[1]) : 0;
  return `${Math.floor(seconds / unit)}${name}${rest > 0 ? rest + smaller[0] : ''}`;
}

const ago = (fromMs, toMs) => `${age(fromMs, toMs)} ago`;

// Short times, such as those of a stage: 850ms, 1.2s, 4m12s.
function lasted(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  return ms < 10_000 ? `${Number((ms / 1000).toFixed(1))}s` : age(0, ms);
}

function date(ms) {
  const time = new Date(ms);
  if (Number.isNaN(time.getTime())) return 'an unknown time';
  const day = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][time.getUTCDay()];
  return `${day} ${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

// With one decimal below ten.
const short = (value) => (value < 9.95 ? Number(value.toFixed(1)) : Math.round(value)).toString();

function size(bytes) {
  const units = [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]];
  const unit = units.find(([, one]) => bytes >= one);
  return unit ? `${short(bytes / unit[1])} ${unit[0]}` : `${Math.round(bytes)} B`;
}

function seconds(value) {
  if (value >= 1) return `${short(value)}s`;
  return value >= 0.001 ? `${short(value * 1e3)}ms` : `${short(value * 1e6)}us`;
}

function count(value) {
  if (value >= 1e6) return `${short(value / 1e6)}M`;
  if (value >= 1e4) return `${short(value / 1e3)}k`;
  return value < 1 ? String(Number(value.toFixed(2))) : short(value);
}

const percent = (share) => `${Math.round(share * 100)}%`;
