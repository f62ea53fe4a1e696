// Keys for labels: j k move; on a label a b t judge, y approves, n rejects, e sets an exact value, u takes back.
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
    const button = document.querySelector(`#decide [data-key="${CSS.escape(event.key)}"]`);
    if (button) {
      event.preventDefault();
      return button.click();
    }
    const field = document.querySelector(`#decide [data-focus="${CSS.escape(event.key)}"]`);
    if (field) {
      event.preventDefault();
      field.focus();
    }
  });

  // Enter in the exact field sets it, rather than pressing the form's first button.
  document.getElementById("exact")?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    document.querySelector('#decide [value="exact"]').click();
  });
})();
