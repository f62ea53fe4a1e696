// How the curves are looked at: kept in the address, so that a link shows a colleague the same picture.

const number = (text) => {
  const value = text === null ? Number.NaN : Number.parseFloat(text);
  return Number.isFinite(value) ? value : null;
};

export class View {
  constructor(changed) {
    const query = new URLSearchParams(location.search);
    this.axis = query.get("x") === "time" ? "time" : "step";
    this.log = query.get("log") === "1";
    this.weight = Math.min(Math.max(number(query.get("smooth")) ?? 0, 0), 0.99);
    this.part = ["raw", "weighted"].includes(query.get("p")) ? query.get("p") : "standardised";
    this.from = number(query.get("from"));
    this.to = number(query.get("to"));
    this.changed = changed;
    this.bind();
  }

  bind() {
    const on = (id, event, value, change) => {
      const tool = document.getElementById(id);
      if (tool.type === "checkbox") tool.checked = value;
      else tool.value = value;
      tool.addEventListener(event, () => { change(tool); this.keep(); });
    };
    let waiting = 0;
    on("tool-smooth", "input", this.weight, (tool) => {
      this.weight = Number(tool.value);
      clearTimeout(waiting);
      waiting = setTimeout(() => this.changed("data"), 120);
    });
    on("tool-log", "change", this.log, (tool) => { this.log = tool.checked; this.changed("look"); });
    on("tool-x", "change", this.axis, (tool) => {
      this.axis = tool.value;
      this.from = this.to = null;
      this.changed("axis");
    });
    on("tool-parts", "change", this.part, (tool) => { this.part = tool.value; this.changed("parts"); });
    this.reset = document.getElementById("tool-reset");
    this.reset.addEventListener("click", () => this.zoom(null, null));
    this.reset.hidden = this.from === null;
  }

  zoom(from, to) {
    if (from === null && this.from === null) return;
    [this.from, this.to] = [from, to];
    this.reset.hidden = from === null;
    this.keep();
    this.changed("data");
  }

  keep() {
    const query = new URLSearchParams(location.search);
    const put = (name, value) => (value === null ? query.delete(name) : query.set(name, value));
    put("x", this.axis === "time" ? "time" : null);
    put("log", this.log ? "1" : null);
    put("smooth", this.weight ? String(this.weight) : null);
    put("p", this.part === "standardised" ? null : this.part);
    put("from", this.from === null ? null : String(Math.round(this.from * 1000) / 1000));
    put("to", this.to === null ? null : String(Math.round(this.to * 1000) / 1000));
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
  }

  query(width, tags) {
    const query = new URLSearchParams({ tags: tags.join(","), width: String(width), x: this.axis });
    if (this.weight) query.set("smooth", String(this.weight));
    if (this.from !== null) query.set("from", String(this.from));
    if (this.to !== null) query.set("to", String(this.to));
    return query;
  }
}
