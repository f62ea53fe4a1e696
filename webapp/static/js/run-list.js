// The list of runs: how many are checked, said on the buttons; keys; and the words that complete what is typed in the filter.
const LEAST = 2, MOST = 12, SUGGESTED = 24;
const form = document.getElementById("compare");
const button = form.querySelector('[value="compare"]');
const search = document.querySelector('.filters input[name="q"]');

const say = () => {
  const count = document.querySelectorAll('input[name="run"]:checked').length;
  button.disabled = count < LEAST || count > MOST;
  button.textContent = count < LEAST ? "Check one more run to compare"
    : count > MOST ? `At most ${MOST} runs, ${count} are checked` : `Compare ${count} runs`;
  for (const other of form.querySelectorAll('[name="action"]:not([value="compare"])')) other.title = `${count} checked`;
};

document.addEventListener("change", (event) => { if (event.target.matches('input[name="run"]')) say(); });
form.addEventListener("reset", () => setTimeout(say));

// Keys. Rows are replaced while a run is under way, so the current one is known by its run.
let current = null;
const rows = () => [...document.querySelectorAll("#run-rows tr")];
const mark = () => {
  for (const row of rows()) row.classList.toggle("is-selected", row.dataset.run === current);
};
const move = (step) => {
  const all = rows();
  const at = all.findIndex((row) => row.dataset.run === current);
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  if (!next) return;
  current = next.dataset.run;
  mark();
  next.querySelector(".name a").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
};
const actions = {
  j: () => move(1),
  k: () => move(-1),
  x: () => document.getElementById(`compare-${current}`)?.click(),
  "/": () => { search.focus(); search.select(); },
};
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches('input:not([type="checkbox"]), textarea, select, [contenteditable]');
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
  if (Object.hasOwn(actions, event.key)) {
    event.preventDefault();
    actions[event.key]();
    return;
  }
  const named = form.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (named && !named.disabled && document.querySelector('input[name="run"]:checked')) named.click();
});
document.addEventListener("htmx:afterSettle", () => { say(); mark(); });

// What is typed is completed word by word: the browser's list holds the words before it and each that may follow.
const list = document.getElementById("run-words");
const options = (id) => [...document.querySelectorAll(`#${id} option`)].map((option) => option.value);
const quoted = (word) => (/[\s"]/.test(word) ? `"${word}"` : word);
const words = [...options("run-tags").map((tag) => `tag:${quoted(tag)}`), "status:failed", "status:done", "status:running",
  "status:cancelled", "archived", "starred", "by:", "principle:", ...options("run-fields")];
search.setAttribute("list", "run-words");
search.addEventListener("input", () => {
  const [, before, last] = search.value.match(/^(.*\s)?(\S*)$/s);
  const wanted = last.replace(/^-/, "").toLowerCase();
  const fitting = wanted ? words.filter((word) => word.toLowerCase().includes(wanted) && word !== wanted) : [];
  list.replaceChildren(...fitting.slice(0, SUGGESTED).map((word) => {
    const option = document.createElement("option");
    option.value = `${before ?? ""}${last.startsWith("-") ? "-" : ""}${word}`;
    return option;
  }));
});
say();
