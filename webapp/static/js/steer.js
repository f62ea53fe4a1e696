// The sliders of the steering page: each shows its share, and of two one moves with the other.
(function () {
  "use strict";
  const form = document.getElementById("steer");
  if (!form) return;
  const sliders = [...form.querySelectorAll('.steer-sliders input[type="range"]')];

  function showShares() {
    const total = sliders.reduce((sum, slider) => sum + Number(slider.value), 0);
    for (const slider of sliders) {
      slider.parentElement.querySelector("output").textContent =
        total ? `${Math.round((100 * Number(slider.value)) / total)}%` : "–";
    }
  }

  form.addEventListener("input", (event) => {
    const moved = sliders.indexOf(event.target);
    if (moved < 0) return;
    if (sliders.length === 2) sliders[1 - moved].value = 100 - Number(event.target.value);
    showShares();
  }, true);

  // Saving leaves the page: the form is sent as it is, and not by htmx.
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-plain]");
    if (!button) return;
    event.preventDefault();
    form.action = button.formAction;
    form.submit();
  });
})();
