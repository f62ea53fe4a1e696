// The parts of the page beside the curves: state, pipeline, samples, log.

const plain = (html) => html.replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "").replace(/\d+ (s|min) ago/g, "");

let refreshes = 0;

// Regions rendered by the server: replaced only where they differ. An answer is dropped if a newer request has been sent.
export const refreshRegions = async (address) => {
  const mine = ++refreshes;
  const answer = await fetch(address, { headers: { "X-Requested-With": "fetch" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== refreshes) return;
  for (const fresh of page.querySelectorAll("[data-region]")) {
    const region = document.querySelector(`[data-region="${fresh.dataset.region}"]`);
    if (!region || plain(region.innerHTML) === plain(fresh.innerHTML)) continue;
    const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...region.querySelectorAll("details")].map((box) => box.open);
    region.replaceChildren(...fresh.childNodes);
    region.querySelectorAll("details").forEach((box, place) => { if (open[place] !== undefined) box.open = open[place]; });
    if (focused) document.getElementById(focused)?.focus();
  }
};

/** @param {import("./messages.js").RunState} run */
export const showRun = ({ sentence, progress, eta }) => {
  const line = document.getElementById("sentence");
  if (line && line.textContent !== sentence) line.textContent = sentence;
  const left = document.getElementById("eta");
  const words = eta.charAt(0).toUpperCase() + eta.slice(1);
  if (left && left.textContent !== words) left.textContent = words;
  const bar = document.getElementById("run-progress");
  if (bar) bar.value = progress;
};

/** @param {import("./messages.js").StageState} stage */
export const showStage = ({ id, text, fraction }) => {
  const box = document.querySelector(`[data-stage="${id}"]`);
  if (!box) return;
  box.querySelector("[data-text]").textContent = text;
  const bar = box.querySelector("progress");
  if (bar) bar.value = fraction;
};

export class Samples {
  constructor(address) {
    this.address = address;
    this.body = document.getElementById("samples-body");
    this.upgrade();
  }

  get form() { return this.body.querySelector(".sample-tools"); }

  get steps() { return this.form ? this.form.dataset.steps.split(",").map(Number) : []; }

  // With a script the list of steps becomes a slider.
  upgrade() {
    const form = this.form;
    if (!form || form.querySelector("input[type=range]")) return;
    const select = form.querySelector("select");
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = 0;
    slider.max = this.steps.length - 1;
    slider.value = select.selectedIndex;
    slider.className = "step-slider";
    slider.setAttribute("aria-label", "Step of the samples");
    slider.setAttribute("aria-valuetext", `step ${select.value}`);
    form.querySelector("button").hidden = true;
    form.append(slider);
    form.addEventListener("submit", (event) => event.preventDefault());
    select.addEventListener("change", () => this.show(Number(select.value)));
    slider.addEventListener("input", () => this.show(this.steps[slider.value]));
  }

  async show(step) {
    this.asked = step;
    const query = new URLSearchParams(location.search);
    const newest = this.steps.length === 0 || step === null || step === this.steps.at(-1);
    if (newest) query.delete("step");
    else query.set("step", step);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    const answer = await fetch(step === null ? this.address : `${this.address}?step=${step}`);
    if (!answer.ok || this.asked !== step) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    if (this.form && fresh.querySelector(".sample-list")) {
      this.adopt(fresh);
    } else {
      this.body.replaceChildren(...fresh.childNodes);
      this.upgrade();
    }
  }

  // Change the list and the steps, and leave the slider under the finger.
  adopt(fresh) {
    this.body.querySelector(".sample-list").replaceWith(fresh.querySelector(".sample-list"));
    const { form } = this;
    const select = fresh.querySelector("select");
    const { value } = select;
    form.dataset.steps = fresh.querySelector(".sample-tools").dataset.steps;
    const slider = form.querySelector("input[type=range]");
    form.querySelector("select").replaceChildren(...select.childNodes);
    form.querySelector("select").value = value;
    slider.max = this.steps.length - 1;
    slider.value = this.steps.indexOf(Number(value));
    slider.setAttribute("aria-valuetext", `step ${value}`);
  }

  // New samples: who looked at the newest sees the newest.
  arrived() {
    const select = this.form?.querySelector("select");
    const follows = !select || select.selectedIndex === select.options.length - 1;
    if (follows) this.show(null);
    else this.show(Number(select.value));
  }
}

const KEPT = 1000;

export class Log {
  constructor(stages) {
    this.stages = stages;
    this.list = document.getElementById("log");
    this.follow = document.getElementById("log-follow");
    const level = document.getElementById("log-level");
    level.addEventListener("change", () => { this.list.dataset.level = level.value; });
    this.follow.addEventListener("change", () => this.toEnd());
    this.toEnd();
  }

  /** @param {import("./messages.js").Line} line */
  add({ stage, seq, time, level, message, code, step }) {
    const source = this.stages.get(stage);
    if (!source || seq <= source.log) return;
    source.log = seq;
    const item = document.createElement("li");
    item.className = `is-${level}`;
    const when = document.createElement("time");
    const date = new Date(time * 1000);
    when.dateTime = date.toISOString();
    when.textContent = date.toISOString().slice(11, 19);
    const who = document.createElement("span");
    who.className = "who";
    who.textContent = source.name;
    const what = document.createElement("span");
    what.className = "what";
    what.textContent = `${code ? `${code}${step === null ? "" : ` at step ${step}`}: ` : ""}${message}`;
    item.append(when, " ", who, " ", what);
    this.list.append(item);
    while (this.list.children.length > KEPT) this.list.firstElementChild.remove();
  }

  toEnd() {
    if (this.follow.checked) this.list.scrollTop = this.list.scrollHeight;
  }
}
