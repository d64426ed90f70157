// The rows of the last hour, joined from what the agent sends: all at first, then those that are new.
// Times are milliseconds of the host's boot clock, which never jumps.

const HOUR_MS = 3_600_000;
const HOST_COLUMNS = ['cpu', 'memory', 'backlog'];
const TIER_COLUMNS = ['requests', 'errors', 'p50', 'p99', 'in_flight', 'delay', 'memory'];

class Rows {
  agent = null;
  last = 0;
  times = [];
  host = columns(HOST_COLUMNS, 0);
  tiers = new Map();

  // What the agent is told by a page that comes back.
  get id() {
    return this.agent === null ? null : `${this.agent}-${this.last}`;
  }

  get newest() {
    return this.times.at(-1) ?? -Infinity;
  }

  add(document) {
    if (document.agent !== this.agent && this.times.length > 0) {
      // Another agent: nobody measured in between. Earlier times are those of another boot.
      if (document.at < this.newest) this.#clear();
      else this.#push(this.newest + 1, () => null);
    }
    this.agent = document.agent;
    this.last = document.last;
    for (const name of Object.keys(document.tiers)) {
      if (!this.tiers.has(name)) this.tiers.set(name, columns(TIER_COLUMNS, this.times.length));
    }
    document.times.forEach((time, at) => {
      if (time <= this.newest) return;
      this.#push(time, (tier, column) => {
        const found = tier === null ? document.host : document.tiers[tier];
        return found?.[column][at] ?? null;
      });
    });
    this.#trim(document.at - HOUR_MS);
  }

  #push(time, value) {
    this.times.push(time);
    for (const name of HOST_COLUMNS) this.host[name].push(value(null, name));
    for (const [tier, of] of this.tiers) {
      for (const name of TIER_COLUMNS) of[name].push(value(tier, name));
    }
  }

  #trim(oldest) {
    const all = [this.host, ...this.tiers.values()].flatMap((of) => Object.values(of));
    while (this.times.length > 0 && this.times[0] < oldest) {
      this.times.shift();
      for (const column of all) column.shift();
    }
    for (const [tier, of] of this.tiers) {
      const empty = TIER_COLUMNS.every((name) => of[name].every((value) => value === null));
      if (empty) this.tiers.delete(tier);
    }
  }

  #clear() {
    this.times = [];
    this.host = columns(HOST_COLUMNS, 0);
    this.tiers = new Map();
  }
}

function columns(names, length) {
  return Object.fromEntries(names.map((name) => [name, new Array(length).fill(null)]));
}
