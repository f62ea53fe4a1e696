// The page that compares runs: their curves on the same charts, one colour a run, at the same steps.
import { Chart } from "./run-chart.js";
import { chartsOf } from "./run-layout.js";
import { View } from "./run-view.js";

const data = JSON.parse(document.getElementById("compare-data").textContent);
const SOLID = 6;  // the lines of further runs are dashed: twelve colours alone are hard to tell apart

class Comparison {
  constructor() {
    this.place = document.getElementById("charts");
    this.columns = new Map();  // by tag and stage
    this.charts = new Map();
    this.wanted = new Set();
    this.round = 0;
    this.view = new View((what) => this.viewChanged(what));
    this.inView = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "150px" });
    this.sizes = new ResizeObserver((entries) => {
      for (const { target } of entries) target.closest("figure").chart.resize();
    });
    this.loadColors();
    this.placeAll();
    document.addEventListener("concord:theme", () => {
      this.loadColors();
      for (const chart of this.charts.values()) chart.renew();
    });
  }

  // Charts and their places: as on the page of a run, without what is stacked.

  placeAll() {
    const specs = data.tags.flatMap((tag) => chartsOf(tag, "ppo", data.principles, this.view.part));
    specs.sort((a, b) => (a.group === b.group ? a.order - b.order : a.group === "policy" ? -1 : 1));
    for (const spec of specs) {
      if (spec.stacked || this.charts.has(spec.id)) continue;
      const chart = new Chart(spec, this);
      this.charts.set(spec.id, chart);
      this.place.append(chart.figure);
      chart.figure.chart = chart;
      this.inView.observe(chart.figure);
      this.sizes.observe(chart.box);
    }
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const { chart } = target;
      chart.visible = isIntersecting;
      if (!isIntersecting) continue;
      if (chart.spec.tags.some((tag) => !this.columns.has(tag))) this.want(chart.spec.tags);
      else if (chart.dirty) this.schedule();
    }
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      for (const chart of this.charts.values()) if (chart.dirty && chart.visible) chart.draw();
    });
  }

  // A line for each run that has the series; runs that share their PPO lie on each other.
  lines(spec) {
    const [tag] = spec.tags;
    return data.runs.flatMap(({ stage, letter, name }, place) => {
      const columns = this.columns.get(tag)?.get(stage);
      if (!columns) return [];
      return [{ name, symbol: letter, color: this.hues[place], dashed: place >= SOLID, columns,
        newest: columns.last.at(-1) ?? null }];
    });
  }

  symbol(principle) { return data.symbols[principle] ?? "●"; }

  target() { return null; }

  marks() { return []; }

  loadColors() {
    const color = (token, hue) => window.concord.color(token, hue);
    this.colors = { muted: color("--muted"), grid: color("--grid"), warn: color("--warn"),
      font: getComputedStyle(document.body).fontFamily };
    this.hues = data.runs.map(({ hue }) => color("--hue", hue));
  }

  zoom(from, to) { this.view.zoom(from, to); }

  viewChanged(what) {
    if (what === "parts") {
      for (const { plot, figure } of this.charts.values()) { plot?.destroy(); figure.remove(); }
      this.charts.clear();
      return this.placeAll();
    }
    if (what === "look" || what === "axis") for (const chart of this.charts.values()) chart.renew();
    if (what !== "look") this.reload();
  }

  // Points: everything asked for in one frame is one request for all runs.

  want(tags) {
    for (const tag of tags) this.wanted.add(tag);
    this.asking ??= requestAnimationFrame(() => {
      this.asking = null;
      const tags = [...this.wanted];
      this.wanted.clear();
      this.fetch(tags);
    });
  }

  async fetch(tags) {
    const { round } = this;
    const widest = Math.max(...[...this.charts.values()].map(({ box }) => box.clientWidth), 300);
    const query = this.view.query(Math.min(Math.round(widest), 2000), tags);
    const answer = await fetch(`${data.metrics}&${query}`).catch(() => null);
    if (round !== this.round) return;
    if (!answer?.ok) {
      setTimeout(() => this.want(tags), 3000);
      return;
    }
    const { series } = await answer.json();
    if (round !== this.round) return;
    for (const tag of tags) this.columns.set(tag, new Map());
    for (const columns of series) this.columns.get(columns.tag)?.set(columns.stage, columns);
    for (const chart of this.charts.values()) if (chart.spec.tags.some((tag) => tags.includes(tag))) chart.touch();
  }

  // New columns for what is shown; what is out of view loads when it comes into view.
  reload() {
    this.round += 1;
    const visible = new Set();
    for (const { spec, visible: isVisible } of this.charts.values()) {
      for (const tag of spec.tags) if (isVisible) visible.add(tag);
    }
    for (const tag of this.columns.keys()) if (!visible.has(tag)) this.columns.delete(tag);
    if (visible.size) this.fetch([...visible]);
  }
}

if (data.tags.length) new Comparison();
