// The run form: sliders and shares, fields that depend on a choice, and messages at their fields while one types.
const form = document.getElementById("recipe");

const number = (text) => {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? value : 0;
};

const showShares = () => {
  const rows = [...form.querySelectorAll(".weight-row")].map((row) => ({
    row,
    chosen: row.querySelector("input[name=principle]").checked && row.querySelector(".serves")?.value !== "gauge",
    weight: number(row.querySelector(".weight-number").value),
  }));
  const total = rows.reduce((sum, { chosen, weight }) => sum + (chosen ? Math.abs(weight) : 0), 0);
  for (const { row, chosen, weight } of rows) {
    const share = chosen && total ? `${weight < 0 ? "−" : ""}${Math.round((100 * Math.abs(weight)) / total)}%` : "";
    row.querySelector("[data-share]").textContent = share;
    row.classList.toggle("is-off", !row.querySelector("input[name=principle]").checked);
  }
};

const keepSliderAndNumberEqual = ({ target }) => {
  const row = target.closest(".weight-row");
  if (!row) return;
  if (target.matches(".weight-slider")) {
    row.querySelector(".weight-number").value = target.value;
    row.querySelector("input[name=principle]").checked = true;
  } else if (target.matches(".weight-number")) {
    row.querySelector(".weight-slider").value = number(target.value);
  }
  showShares();
};

// "name=value", "name=one|other", "name!=value", or "name=" for a field that is empty.
const applies = (condition) => {
  const [name, values] = condition.split(/!?=/);
  return values.split("|").includes(form.elements.namedItem(name)?.value) !== condition.includes("!=");
};

const showWhatApplies = () => {
  for (const field of form.querySelectorAll("[data-when]")) {
    field.hidden = !field.dataset.when.split(" ").every(applies);
  }
};

const showErrors = () => {
  const data = document.getElementById("field-errors");
  const messages = data ? JSON.parse(data.textContent) : {};
  for (const place of form.querySelectorAll("[data-error]")) {
    const message = messages[place.dataset.error] ?? "";
    if (place.textContent !== message) place.textContent = message;
    place.closest(".field, .weight-row")?.classList.toggle("has-error", message !== "");
    const control = document.getElementById(place.dataset.error);
    if (message) control?.setAttribute("aria-invalid", "true");
    else control?.removeAttribute("aria-invalid");
    if (message) {
      const folded = place.closest("details");
      if (folded && !folded.open) folded.classList.add("has-error");
    }
  }
  // The summary says what was wrong when the form was sent; it leaves when all of it is mended.
  const summary = document.getElementById("error-summary");
  if (summary && !Object.keys(messages).length) summary.remove();
};

// A link of a summary leads to its field, even where that is folded away.
const goToField = (event) => {
  const link = event.target.closest("a[href^='#id_']");
  if (!link) return;
  const field = document.getElementById(link.getAttribute("href").slice(1));
  if (!field) return;
  event.preventDefault();
  for (let box = field.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  field.scrollIntoView({ block: "center" });
  field.focus();
};

form.addEventListener("input", keepSliderAndNumberEqual);
form.addEventListener("change", showWhatApplies);
form.addEventListener("change", showShares);
document.addEventListener("click", goToField);
document.addEventListener("htmx:afterSwap", showErrors);
// Enter in a field checks nothing by itself and starts nothing: only the buttons do.
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
});
// htmx listens for changes only; the buttons send the form the plain way.
form.addEventListener("htmx:configRequest", (event) => {
  delete event.detail.parameters.yaml;
});
// A preset fills the form anew: what was typed is thrown away only if that is meant.
let typed = document.getElementById("error-summary") !== null;
form.addEventListener("input", () => { typed = true; });
for (const link of document.querySelectorAll("[data-discards]")) {
  link.addEventListener("click", (event) => {
    if (typed && !window.confirm("Replace everything that you typed with this preset?")) event.preventDefault();
  });
}
showShares();
showWhatApplies();
document.getElementById("error-summary")?.focus();
const wrongYaml = document.querySelector(".has-error #id_yaml");
if (wrongYaml) {
  wrongYaml.scrollIntoView({ block: "center" });
  wrongYaml.focus();
}
