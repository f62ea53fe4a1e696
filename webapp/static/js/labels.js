// Keys for labels: j k move; on a label a b t decide, y approves, n rejects, e sets an exact value, u takes back, z goes
// back to the label that was decided last. The server answers a decision with the next label.
(() => {
  const typing = (element) => element.matches("input, textarea, select, [contenteditable]");

  const rows = [...document.querySelectorAll("#labels tbody tr")];
  let current = -1;
  const select = (index) => {
    rows[current]?.classList.remove("is-selected");
    current = Math.min(Math.max(index, 0), rows.length - 1);
    rows[current].classList.add("is-selected");
    rows[current].querySelector("a").focus();
    rows[current].scrollIntoView({ block: "nearest" });
  };

  const go = (relation) => document.querySelector(`a[rel="${relation}"]`)?.click();
  const move = (step) => {
    if (rows.length) select(current + step);
    else go(step > 0 ? "next" : "prev");
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "j") return move(1);
    if (event.key === "k") return move(-1);
    const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (button) {
      event.preventDefault();
      if (!isSent) button.click();
      return;
    }
    const field = document.querySelector(`[data-focus="${CSS.escape(event.key)}"]`);
    if (field) {
      event.preventDefault();
      field.focus();
    }
  });

  // A key that is pressed twice decides once: the second would reach this label again, before the next one is there.
  let isSent = false;
  document.getElementById("decide")?.addEventListener("submit", () => { isSent = true; });
  addEventListener("pageshow", () => { isSent = false; });

  // Enter in the exact field sets it, rather than pressing the form's first button.
  document.getElementById("exact")?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    document.querySelector('[form="decide"][value="exact"]').click();
  });
})();
