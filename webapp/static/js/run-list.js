// The list of runs: how many are checked to be compared, said on the button; it stays in reach while one is.
const LEAST = 2, MOST = 12;
const form = document.getElementById("compare");
const button = form.querySelector("button");

const say = () => {
  const count = document.querySelectorAll('input[name="run"]:checked').length;
  button.disabled = count < LEAST || count > MOST;
  button.textContent = count < LEAST ? "Check one more run to compare"
    : count > MOST ? `At most ${MOST} runs, ${count} are checked` : `Compare ${count} runs`;
};

document.addEventListener("change", (event) => { if (event.target.matches('input[name="run"]')) say(); });
form.addEventListener("reset", () => setTimeout(say));
document.addEventListener("htmx:afterSettle", say);
say();
