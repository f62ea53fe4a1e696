// All objectives of a sweep: ranges select runs while they are typed or drawn along an axis. Without this script the
// form of ranges asks the server. Listens on the document, for a sweep under way replaces its page every few seconds.

const MOST = 12, FEWEST = 2, CLICK = 4; // runs of a comparison, and pixels that a click may move

const svg = () => document.getElementById("parallel");
const form = () => document.getElementById("parallel-ranges");

function inputs(axis) {
  return [...form().querySelectorAll(`fieldset[data-axis="${axis}"] input`)];
}

// A range on an axis, in the units of the inputs; an input that is empty or no number sets no limit.
function range(axis) {
  return inputs(axis).map((input, side) =>
    input.value.trim() === "" || Number.isNaN(input.valueAsNumber) ? (side ? Infinity : -Infinity) : input.valueAsNumber);
}

function drawBrush(group, [low, high]) {
  const { low: least, high: most, start, end, factor } = numbers(group);
  const brush = group.querySelector(".brush");
  if (low === -Infinity && high === Infinity) {
    brush.setAttribute("height", 0);
    return;
  }
  const place = (value) => {
    const inside = Math.min(Math.max(value / factor, least), most);
    return start + ((inside - least) / (most - least)) * (end - start);
  };
  const ends = [place(low), place(high)].sort((a, b) => a - b);
  brush.setAttribute("y", ends[0]);
  brush.setAttribute("height", Math.max(ends[1] - ends[0], 1));
}

function numbers(group) {
  return Object.fromEntries(["low", "high", "start", "end", "factor"].map((name) => [name, Number(group.dataset[name])]));
}

function select() {
  if (!svg() || !form()) return;
  const groups = [...svg().querySelectorAll("[data-axis]")];
  const ranges = groups.map((group) => range(group.dataset.axis));
  groups.forEach((group, number) => drawBrush(group, ranges[number]));
  let selected = 0, runs = 0;
  const paths = [...svg().querySelectorAll(".path")];
  for (const path of paths) {
    const inside = path.dataset.numbers.split(" ").every((text, number) =>
      Number(text) >= ranges[number][0] - 1e-6 && Number(text) <= ranges[number][1] + 1e-6);
    path.classList.toggle("is-out", !inside);
    const row = document.querySelector(`#parallel-list tr[data-point="${path.dataset.point}"]`);
    row.hidden = !inside;
    for (const field of row.querySelectorAll("input")) {
      field.disabled = !inside;
      runs += inside ? 1 : 0;
    }
    selected += inside ? 1 : 0;
  }
  document.getElementById("parallel-count").textContent = `${selected} of ${paths.length} selected`;
  const fits = runs >= FEWEST && runs <= MOST;
  document.getElementById("parallel-compare").disabled = !fits;
  document.getElementById("parallel-why").hidden = fits;
}

// Drawing a range: from where the pointer went down to where it is.
let drawn = null;

function valueAt(group, event) {
  const { low, high, start, end, factor } = numbers(group);
  const box = svg().getBoundingClientRect();
  const y = ((event.clientY - box.top) / box.height) * svg().viewBox.baseVal.height;
  const share = Math.min(Math.max((y - start) / (end - start), 0), 1);
  return Number(((low + share * (high - low)) * factor).toPrecision(3));
}

function setRange(axis, values) {
  inputs(axis).forEach((input, side) => { input.value = values ? values[side] : ""; });
  select();
}

document.addEventListener("pointerdown", (event) => {
  const grip = event.target.closest?.("#parallel .grip");
  if (!grip || event.button !== 0) return;
  drawn = { group: grip.parentNode, from: valueAt(grip.parentNode, event), y: event.clientY };
  event.preventDefault();
});
document.addEventListener("pointermove", (event) => {
  if (!drawn || Math.abs(event.clientY - drawn.y) < CLICK) return;
  drawn.group = svg().querySelector(`[data-axis="${drawn.group.dataset.axis}"]`); // the page may have been replaced
  setRange(drawn.group.dataset.axis, [drawn.from, valueAt(drawn.group, event)].sort((a, b) => a - b));
});
document.addEventListener("pointerup", (event) => {
  if (drawn && Math.abs(event.clientY - drawn.y) < CLICK) setRange(drawn.group.dataset.axis, null);
  drawn = null;
});
document.addEventListener("pointercancel", () => { drawn = null; });

document.addEventListener("input", (event) => {
  if (event.target.closest?.("#parallel-ranges")) select();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#parallel-clear")) return;
  event.preventDefault();
  for (const input of form().querySelectorAll('input[type="number"]')) input.value = "";
  select();
});
document.addEventListener("htmx:afterSwap", select);
document.addEventListener("htmx:after:swap", select);
select();
