// What the page knows of a run's series: columns for the charts, and how far each series has been read.

import { fromPlace } from "./messages.js";

const keyOf = (stage, tag) => `${stage}|${tag}`;

export class Store {
  constructor({ stages, series }) {
    this.stages = new Map(stages.map((stage) => [stage.id, { ...stage }]));
    this.series = new Map();
    for (const [stage, tag, last] of series) this.entry(stage, tag).last = last;
  }

  entry(stage, tag) {
    const key = keyOf(stage, tag);
    let entry = this.series.get(key);
    if (!entry) {
      entry = { stage, tag, last: -1, newest: null, columns: null, pending: null };
      this.series.set(key, entry);
    }
    return entry;
  }

  tagged(tags) {
    return [...this.series.values()].filter((entry) => tags.includes(entry.tag));
  }

  // What the socket needs to hear: a place (see messages.js) for each stage.
  cursor() {
    const places = new Map();
    for (const [id, { rewinds, log, sample }] of this.stages) places.set(id, { rewinds, log, tags: {}, sample });
    for (const { stage, tag, last } of this.series.values()) {
      if (last >= 0 && places.has(stage)) places.get(stage).tags[tag] = last;
    }
    return Object.fromEntries([...places].map(([id, place]) => [id, fromPlace(place)]));
  }

  // Deltas that arrive while a snapshot is on its way wait for it.
  expect(tags) {
    for (const entry of this.tagged(tags)) entry.pending ??= [];
  }

  load(snapshot, tags, { weight, frozen = false, axis = "step" }) {
    for (const [id, rewinds] of Object.entries(snapshot.stages)) {
      const stage = this.stages.get(Number(id));
      if (stage) stage.rewinds = rewinds;
    }
    const loaded = new Set();
    for (const series of snapshot.series) {
      const entry = this.entry(series.stage, series.tag);
      loaded.add(entry);
      entry.columns = { ...series, weight };
      entry.last = series.last_step;
      entry.newest = series.last.at(-1) ?? null;
    }
    let isComplete = true;
    for (const entry of this.tagged(tags)) {
      const waiting = entry.pending ?? [];
      entry.pending = null;
      if (!loaded.has(entry)) { entry.columns = null; entry.last = -1; }
      for (const points of waiting) isComplete = this.append(points, { frozen, axis }) && isComplete;
    }
    return isComplete;
  }

  /**
   * Add new points of one series; false where some before them are missing.
   * @param {import("./messages.js").Points} points
   */
  append(points, { frozen = false, axis = "step" }) {
    const { stage, tag, before, steps, values, times } = points;
    const entry = this.entry(stage, tag);
    if (entry.pending) { entry.pending.push(points); return true; }
    const lastStep = entry.last;
    if (entry.columns && before !== null && before > lastStep) return false;
    for (let i = 0; i < steps.length; i += 1) {
      if (steps[i] <= lastStep) continue;
      entry.last = steps[i];
      entry.newest = values[i];
      if (entry.columns && !frozen) extend(entry.columns, axis === "time" ? times[i] : steps[i], values[i], axis);
    }
    return true;
  }
}

const extend = (columns, x, value, axis) => {
  if (axis === "time" && !columns.x.length) columns.origin = x;
  // A clock that was set back stands still, as on the server.
  columns.x.push(axis === "time" ? Math.max(x - columns.origin, columns.x.at(-1) ?? 0) : x);
  columns.last.push(value);
  columns.low?.push(value);
  columns.high?.push(value);
  if (columns.smooth) columns.smooth.push(smoothed(columns, value));
  columns.stack?.x.push(columns.x.at(-1));
  columns.stack?.last.push(columns.smooth ? columns.smooth.at(-1) : value);
  columns.n += 1;
};

// The server's average, carried on: sum(w^k x) / sum(w^k) over all points so far that are numbers. `mass` is that sum of
// weights at the last point.
const smoothed = (columns, value) => {
  const before = columns.smooth.at(-1) ?? null;
  const mass = columns.mass * columns.weight;
  columns.mass = mass + (value === null ? 0 : 1);
  return value === null ? before : ((before ?? 0) * mass + value) / columns.mass;
};
