// The page of a run: a snapshot first, then what is new over the socket; a gap leads to a new snapshot.
import { Chart } from "./run-chart.js";
import { chartsOf, groups, principleOf } from "./run-layout.js";
import { Log, Samples, refreshRegions, showRun, showStage } from "./run-parts.js";
import { Live } from "./run-socket.js";
import { Store } from "./run-store.js";
import { View } from "./run-view.js";

const data = JSON.parse(document.getElementById("run-data").textContent);

class Page {
  constructor() {
    this.store = new Store(data);
    this.view = new View((what) => this.viewChanged(what));
    this.charts = new Map();
    this.boxes = new Map();
    this.hues = new Map();
    this.wanted = new Set();
    this.samples = new Samples(data.samples);
    this.log = new Log(this.store.stages);
    this.state = data.run_state;  // as rendered: what changed before the socket opened must refresh the page too
    this.inView = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "150px" });
    this.sizes = new ResizeObserver((entries) => this.resized(entries));
    this.loadColors();
    this.placeAll();
    document.addEventListener("concord:theme", () => this.recolor());
    this.live = new Live(data.run, {
      cursor: () => this.store.cursor(), onMessage: (message) => this.hear(message), onState: (state) => this.say(state),
    });
  }

  // Charts and their places ---------------------------------------------------------------------------------------------

  group(key) {
    if (this.boxes.has(key)) return this.boxes.get(key);
    const { title } = groups.find((group) => group.key === key);
    const box = document.createElement("details");
    box.className = `chart-group is-${key}`;
    const started = this.hasPolicy;
    box.open = key === "policy" || (key === "models" && !started);
    const summary = document.createElement("summary");
    const head = document.createElement("h3");
    head.textContent = title;
    summary.append(head);
    const grid = document.createElement("div");
    grid.className = "chart-grid";
    box.append(summary, grid);
    const place = document.getElementById("charts");
    // Nothing jumps: what comes later stands below, but a page opened late has the policy on top.
    if (key === "policy" && place.firstChild && this.boxes.has("models") && !this.settled) place.prepend(box);
    else if (key === "policy" && this.boxes.has("more")) this.boxes.get("more").parentElement.before(box);
    else place.append(box);
    document.getElementById("curves").hidden = false;
    this.boxes.set(key, grid);
    return grid;
  }

  get hasPolicy() {
    return [...this.store.series.values()].some(({ tag }) => tag === "reward/total");
  }

  placeAll() {
    for (const { stage, tag } of this.store.series.values()) this.chartsOf(stage, tag);
  }

  // The charts that show a series, made where they are missing.
  chartsOf(stage, tag) {
    const kind = this.store.stages.get(stage)?.kind ?? "";
    return chartsOf(tag, kind, data.principles, this.view.part).map((spec) => {
      if (!this.charts.has(spec.id)) this.place(spec);
      return this.charts.get(spec.id);
    });
  }

  place(spec) {
    const chart = new Chart(spec, this);
    this.charts.set(spec.id, chart);
    const grid = this.group(spec.group);
    const after = [...grid.children].find((figure) => Number(figure.dataset.order) > spec.order);
    chart.figure.dataset.order = String(spec.order);
    grid.insertBefore(chart.figure, after ?? null);
    chart.figure.chart = chart;
    this.inView.observe(chart.figure);
    this.sizes.observe(chart.box);
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const { chart } = target;
      chart.visible = isIntersecting;
      if (!isIntersecting) continue;
      const entries = this.entries(chart.spec);
      if (!entries.length || entries.some((entry) => !entry.columns)) this.want(chart.spec.tags);
      else if (chart.dirty) this.schedule();
    }
  }

  resized(entries) {
    for (const { target } of entries) target.closest("figure").chart.resize();
  }

  // Drawing: once a frame, and only what is in view ----------------------------------------------------------------------

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      for (const chart of this.charts.values()) if (chart.dirty && chart.visible) chart.draw();
    });
  }

  entries(spec) {
    return this.store.tagged(spec.tags).filter(({ stage }) => this.store.stages.get(stage)?.kind === spec.kind);
  }

  lines(spec) {
    const entries = this.entries(spec).filter((entry) => entry.columns);
    if (spec.stacked) entries.sort((a, b) => spec.tags.indexOf(a.tag) - spec.tags.indexOf(b.tag));
    return entries.map((entry) => {
      const stage = this.store.stages.get(entry.stage);
      const principle = principleOf(entry.tag) ?? stage?.principle;
      return { name: principle || spec.title, symbol: this.symbol(principle), color: this.color(principle),
        columns: (spec.stacked && entry.columns.stack) || entry.columns, newest: entry.newest };
    });
  }

  symbol(principle) { return data.symbols[principle] ?? "●"; }

  target(spec) { return spec.target === "kl" ? data.kl_target : null; }

  marks(spec) {
    if (spec.group !== "policy" || this.view.axis !== "step") return [];
    return data.warnings.filter(([stage]) => this.store.stages.get(stage)?.kind === "ppo").map(([, step]) => step);
  }

  color(principle) {
    const key = principle ?? "";
    if (!this.hues.has(key)) {
      this.hues.set(key, key ? window.concord.color("--hue", key) : window.concord.color("--accent"));
    }
    return this.hues.get(key);
  }

  loadColors() {
    const color = (token) => window.concord.color(token);
    this.colors = { muted: color("--muted"), grid: color("--grid"), warn: color("--warn"),
      font: getComputedStyle(document.body).fontFamily };
  }

  recolor() {
    this.hues.clear();
    this.loadColors();
    for (const chart of this.charts.values()) chart.renew();
  }

  zoom(from, to) { this.view.zoom(from, to); }

  viewChanged(what) {
    if (what === "parts") return this.swapParts();
    if (what === "look" || what === "axis") for (const chart of this.charts.values()) chart.renew();
    if (what !== "look") this.reload();
  }

  // Another kind of principle rewards: the same places, other series.
  swapParts() {
    for (const [id, chart] of this.charts) {
      if (!chart.spec.principle) continue;
      chart.plot?.destroy();
      chart.figure.remove();
      this.charts.delete(id);
    }
    this.placeAll();
  }

  // Snapshots ------------------------------------------------------------------------------------------------------------

  // Everything asked for in one frame is one request.
  want(tags) {
    for (const tag of tags) this.wanted.add(tag);
    this.asking ??= requestAnimationFrame(() => {
      this.asking = null;
      const wantedTags = [...this.wanted];
      this.wanted.clear();
      this.fetch(wantedTags);
    });
  }

  async fetch(tags) {
    this.store.expect(tags);
    const round = this.round ?? 0;
    const answer = await fetch(`${data.metrics}?${this.view.query(this.pixels(), tags)}`).catch(() => null);
    if (round !== (this.round ?? 0)) return;
    if (!answer?.ok) {
      setTimeout(() => this.want(tags), 3000);
      return;
    }
    const isComplete = this.store.load(await answer.json(), tags,
      { weight: this.view.weight, frozen: this.view.from !== null, axis: this.view.axis });
    for (const chart of this.charts.values()) if (chart.spec.tags.some((tag) => tags.includes(tag))) chart.touch();
    if (!isComplete) this.resync();
  }

  pixels() {
    const widest = Math.max(...[...this.charts.values()].map(({ box }) => box.clientWidth), 300);
    return Math.min(Math.round(widest), 2000);
  }

  // New columns for what is shown; what is out of view loads when it comes into view.
  reload() {
    this.round = (this.round ?? 0) + 1;
    const tags = [];
    for (const chart of this.charts.values()) {
      if (chart.visible) tags.push(...chart.spec.tags);
      else for (const entry of this.store.tagged(chart.spec.tags)) { entry.columns = null; entry.pending = null; }
    }
    for (const entry of this.store.tagged(tags)) entry.pending = null;
    return this.fetch(tags.length ? tags : ["none"]);
  }

  // Something is missing, or void: a new snapshot, and then on from there.
  resync() {
    if (this.resyncing) return;
    this.resyncing = setTimeout(async () => {
      await this.reload();
      this.resyncing = 0;
      this.live.subscribe();
      this.samples.arrived();
      refreshRegions(data.state);
    }, 250);
  }

  // What the socket says ---------------------------------------------------------------------------------------------------

  /** @param {import("./messages.js").Message} message */
  hear(message) {
    if (message.type === "resync") return this.resync();
    let statusChanged = false;
    if (message.run) {
      statusChanged = this.state !== message.run.state;
      this.state = message.run.state;
      this.isChanging = message.run.live;
      showRun(message.run);
      this.say(this.connection);
    }
    for (const stage of message.stages ?? []) {
      const shown = this.store.stages.get(stage.id);
      if (!shown) continue;
      statusChanged ||= shown.status !== stage.status;
      shown.status = stage.status;
      showStage(stage);
    }
    this.add(message.points ?? []);
    for (const line of message.log ?? []) this.heard(line);
    if (message.log) this.log.toEnd();
    for (const { stage, key } of message.samples ?? []) this.store.stages.get(stage).sample = key;
    if (message.samples) this.samples.arrived();
    if (statusChanged) refreshRegions(data.state);
    this.settled = true;
  }

  /** @param {import("./messages.js").Line} line */
  heard(line) {
    this.log.add(line);
    const { stage, level, message, code, step } = line;
    if (level === "warning" && step !== null) data.warnings.push([stage, step, code, message]);
  }

  add(points) {
    const frozen = this.view.from !== null;
    let isComplete = true;
    for (const series of points) {
      isComplete = this.store.append(series, { frozen, axis: this.view.axis }) && isComplete;
      const { stage, tag } = series;
      const charts = this.chartsOf(stage, tag);
      const entry = this.store.entry(stage, tag);
      const tooFine = entry.columns?.x.length > 2.5 * this.pixels() + 200;
      const lacking = !entry.columns && charts.some((chart) => chart.visible);
      if ((tooFine || lacking) && !entry.pending) this.want([tag]);
      for (const chart of charts) chart.touch();
    }
    if (!isComplete) this.resync();
  }

  // A run that is over gets no more data: its curves do not say that they are live.
  say(state) {
    this.connection = state;
    const mark = document.getElementById("live");
    mark.hidden = this.isChanging === undefined ? mark.hidden && state !== "outdated" : !this.isChanging && state === "live";
    const word = { live: "live", gone: "not live: log in again", outdated: "Concord was updated: " }[state]
      ?? "reconnecting";
    mark.classList.toggle("is-live", state === "live");
    if (mark.textContent !== word) mark.textContent = word;
    if (state === "outdated") this.offerReload(mark);
  }

  // What is looked at is in the address, so that a reload shows it again.
  offerReload(mark) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = "Reload the page";
    button.addEventListener("click", () => location.reload());
    mark.append(button);
  }
}

// Modules run after the document is parsed, and after the deferred scripts before them (uPlot, frame.js).
new Page();
