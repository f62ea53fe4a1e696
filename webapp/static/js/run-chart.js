// One chart: a figure with its name and value, the uPlot canvas, and the same numbers as a table.

import { layers, piles } from "./run-stack.js";

const dash = [4, 4];

export const shown = (value) => {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(2).replace("-", "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
};

const minutes = (seconds) => {
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${rounded} s`;
  return `${Math.floor(rounded / 60)}:${String(rounded % 60).padStart(2, "0")}`;
};

export class Chart {
  // `page` gives: view (axis, log, weight, zoom), lines(chart) -> [{name, color, columns}], zoom(from, to), marks().
  constructor(spec, page) {
    this.spec = spec;
    this.page = page;
    this.visible = false;
    this.dirty = true;
    this.plot = null;
    this.at = null;
    this.build();
  }

  build() {
    this.figure = document.createElement("figure");
    this.figure.className = `figure chart${this.spec.wide ? " is-wide" : ""}${this.spec.tall ? " is-tall" : ""}`;
    this.figure.id = `chart-${this.spec.id}`;
    const caption = document.createElement("figcaption");
    this.title = document.createElement("span");
    if (this.spec.principle) this.title.className = `tick hue-${this.spec.principle}`;
    this.title.append(...this.name());
    this.readout = document.createElement("span");
    this.readout.className = "readout number";
    caption.append(this.title, this.readout);
    this.box = document.createElement("div");
    this.box.className = "plot";
    this.box.setAttribute("role", "img");
    this.box.setAttribute("aria-label", this.spec.title);
    this.twin = document.createElement("details");
    this.twin.className = "twin";
    const summary = document.createElement("summary");
    summary.textContent = "Table";
    summary.setAttribute("aria-label", `Table of ${this.spec.title}`);
    this.twin.append(summary);
    this.twin.addEventListener("toggle", () => this.tabulate());
    this.note = document.createElement("p");
    this.note.className = "small muted chart-note";
    this.note.hidden = true;
    this.figure.append(caption, this.box, this.note, this.twin);
  }

  name() {
    if (!this.spec.principle) return [this.spec.title];
    const symbol = document.createElement("span");
    symbol.className = "symbol";
    symbol.setAttribute("aria-hidden", "true");
    symbol.textContent = this.page.symbol(this.spec.principle);
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = this.spec.title;
    return [symbol, name];
  }

  touch() {
    this.dirty = true;
    this.page.schedule();
  }

  get isLog() { return this.page.view.log && !this.spec.stacked; }

  // Theme, log axis or x axis changed: the canvas is made anew.
  renew() {
    this.plot?.destroy();
    this.plot = null;
    this.touch();
  }

  draw() {
    this.dirty = false;
    const lines = this.page.lines(this.spec);
    this.numbers = this.table(lines);
    if (!this.numbers) return;
    const data = this.spec.stacked ? piles(this.numbers, lines.length) : this.numbers;
    const shape = lines.map((line) => `${line.name}${line.columns.smooth ? "~" : ""}`).join("|");
    if (!this.plot || shape !== this.shape) {
      this.plot?.destroy();
      this.shape = shape;
      this.plot = new window.uPlot(this.options(lines), data, this.box);
    } else {
      this.plot.setData(data, true);
    }
    if (this.at === null) this.read(lines);
    this.describe(lines);
    if (this.twin.open) this.tabulate();
  }

  table(lines) {
    const log = this.isLog;
    const fit = (column) => (log ? column.map((value) => (value !== null && value > 0 ? value : null)) : column);
    const tables = lines.map(({ columns }) => {
      const parts = [columns.x, fit(columns.low ?? columns.last), fit(columns.high ?? columns.last), fit(columns.last)];
      if (columns.smooth) parts.push(fit(columns.smooth));
      return parts;
    });
    this.sayHidden(log ? lines : []);
    if (!tables.length || !tables.some((parts) => parts[0].length)) return null;
    return tables.length === 1 ? tables[0].map((column) => column.slice()) : window.uPlot.join(tables);
  }

  // A log scale has no place for 0 and below: how many values are missing is said, and no line bridges them.
  sayHidden(lines) {
    const count = lines.reduce((sum, { columns }) => sum + columns.last.filter((value) => value !== null && value <= 0).length, 0);
    this.note.hidden = count === 0;
    this.note.textContent = count === 1 ? "1 value of 0 or less is not shown on the log scale."
      : `${count.toLocaleString("en")} values of 0 or less are not shown on the log scale.`;
  }

  // Lines with the band of their extremes, and the raw line behind a smooth one.
  curves(lines) {
    const series = [{}];
    const bands = [];
    for (const { name, color, columns, dashed } of lines) {
      const faint = `color-mix(in srgb, ${color} 35%, transparent)`;
      const edge = { stroke: faint, width: 1, points: { show: false }, spanGaps: !this.isLog };
      bands.push({ series: [series.length + 1, series.length], fill: `color-mix(in srgb, ${color} 22%, transparent)` });
      series.push({ ...edge, label: `${name} low` }, { ...edge, label: `${name} high` });
      const few = { points: { size: 5 }, spanGaps: !this.isLog, dash: dashed ? dash : undefined };
      if (columns.smooth) {
        series.push({ ...few, label: `${name} raw`, stroke: faint, width: 1, points: { show: false } });
        series.push({ ...few, label: name, stroke: color, width: 2, points: { show: false } });
      } else {
        series.push({ ...few, label: name, stroke: color, width: 1.75 });
      }
    }
    return { series, bands };
  }

  options(lines) {
    const { colors, view } = this.page;
    const { series, bands } = this.spec.stacked ? layers(lines) : this.curves(lines);
    const axis = { stroke: colors.muted, grid: { stroke: colors.grid, width: 1 }, ticks: { show: false },
      font: `11px ${colors.font}` };
    const clock = (_, splits) => splits.map((value) => (view.axis === "time" ? minutes(value) : value.toLocaleString("en")));
    return {
      width: Math.max(this.box.clientWidth, 120), height: this.spec.tall ? 220 : 170,
      series, bands, legend: { show: false }, padding: [8, 14, 0, 0],
      scales: {
        x: { time: false, range: (_, low, high) => this.window(low, high) },
        y: { distr: this.isLog ? 3 : 1, range: this.isLog ? undefined : (_, low, high) => this.height(low, high) },
      },
      axes: [{ ...axis, size: 28, space: 60, values: clock },
        { ...axis, size: 52, space: 32, values: (_, splits) => splits.map((value) => (value === null ? "" : shown(value))) }],
      cursor: {
        sync: { key: `run-${this.spec.group}`, scales: ["x", null] }, y: false, points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { this.page.zoom(null, null); return null; } },
      },
      hooks: {
        setSelect: [(u) => this.select(u)], setCursor: [(u) => this.move(u)], draw: [(u) => this.mark(u)],
      },
    };
  }

  window(low, high) {
    const { from, to } = this.page.view;
    if (this.spec.group === "policy" && from !== null) return [from, to ?? high];
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  height(low, high) {
    const target = this.page.target(this.spec);
    if (low === null || high === null) return [0, 1];
    const [bottom, top] = target === null ? [low, high] : [Math.min(low, target), Math.max(high, target)];
    const pad = (top - bottom) * 0.08 || Math.abs(top) * 0.1 || 1;
    return [bottom >= 0 && bottom - pad < 0 ? 0 : bottom - pad, top + pad];
  }

  select(u) {
    const { left, width } = u.select;
    if (width < 6) return;
    const [from, to] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    if (this.spec.group === "policy") this.page.zoom(from, to);
    else u.setScale("x", { min: from, max: to });
  }

  move(u) {
    this.at = u.cursor.idx ?? null;
    this.read(this.page.lines(this.spec));
  }

  // The value under the crosshair, or the newest.
  read(lines) {
    const { at, numbers } = this;
    this.readout.replaceChildren();
    let column = 3;
    for (const { name, color, symbol, columns, newest } of lines) {
      const values = numbers?.[columns.smooth ? column + 1 : column];
      column += columns.smooth ? 4 : 3;
      const value = at === null || !values ? newest : values[at];
      const item = document.createElement("span");
      if (lines.length > 1) {
        const mark = document.createElement("span");
        mark.style.color = color;
        mark.textContent = `${symbol} `;
        mark.title = name;
        item.append(mark);
      }
      item.append(shown(value));
      this.readout.append(item);
    }
    if (this.spec.unit && lines.length === 1) this.readout.append(unit(this.spec.unit));
    if (at !== null && numbers) {
      const x = numbers[0][at];
      this.readout.append(unit(this.page.view.axis === "time" ? `at ${minutes(x)}` : `at step ${x}`));
    }
  }

  // Warnings at their step, and the target of the KL.
  mark(u) {
    const { ctx, bbox } = u;
    const { colors } = this.page;
    const target = this.page.target(this.spec);
    ctx.save();
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.lineWidth = devicePixelRatio;
    if (target !== null) {
      const y = u.valToPos(target, "y", true);
      ctx.strokeStyle = colors.muted;
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillStyle = colors.muted;
      ctx.font = `${11 * devicePixelRatio}px ${colors.font}`;
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      ctx.fillText(`target ${shown(target)}`, bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
    }
    ctx.strokeStyle = colors.warn;
    for (const step of this.page.marks(this.spec)) {
      const x = u.valToPos(step, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  describe(lines) {
    const parts = lines.map(({ name, columns, newest }) => {
      const values = columns.last.filter((value) => value !== null);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return `${lines.length > 1 ? `${name}: ` : ""}${shown(newest)} now, from ${shown(low)} to ${shown(high)}`;
    });
    this.box.setAttribute("aria-label", `${this.spec.title}. ${parts.join("; ")}`);
  }

  tabulate() {
    this.twin.querySelector(".table-wrap")?.remove();
    if (!this.twin.open) return;
    const lines = this.page.lines(this.spec);
    const wrap = document.createElement("div");
    wrap.className = "table-wrap";
    wrap.tabIndex = 0;
    wrap.setAttribute("role", "region");
    wrap.setAttribute("aria-label", `Numbers of ${this.spec.title}`);
    const table = document.createElement("table");
    table.className = "table";
    table.createTHead().append(row("th", [this.page.view.axis === "time" ? "Time" : "Step", ...lines.map(({ name }) => name)]));
    const body = table.createTBody();
    const data = this.table(lines) ?? [[]];
    const columns = lines.map(({ columns: own }, place) => data[1 + place * (own.smooth ? 4 : 3) + 2]);
    for (let i = Math.max(data[0].length - 200, 0); i < data[0].length; i += 1) {
      body.append(row("td", [data[0][i], ...columns.map((column) => shown(column[i]))]));
    }
    wrap.append(table);
    this.twin.append(wrap);
  }

  resize() {
    this.plot?.setSize({ width: Math.max(this.box.clientWidth, 120), height: this.plot.height });
  }
}

const unit = (text) => {
  const span = document.createElement("span");
  span.className = "unit";
  span.textContent = text;
  return span;
};

const row = (kind, cells) => {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const box = document.createElement(kind);
    box.className = "num";
    box.textContent = String(cell);
    line.append(box);
  }
  return line;
};
