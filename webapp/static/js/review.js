// A person's queue of pairs for review. Keys: a A, b B, t tie, s skip, u undo.
import { Queue } from "./queue.js";

const root = document.getElementById("queue");
const form = document.getElementById("ballot");
if (root && document.getElementById("pairs")) {
  const last = document.getElementById("last");
  new Queue({
    root, form, pair: ".review-pair", id: "item",
    titles: { a: "A better", b: "B better", tie: "tie", skip: "skipped", undo: "undo" },
    onSaved: (answer, decision) => {
      last.textContent = decision.outcome === "undo" ? "Taken back." : `On the pair before, the judge: ${answer.last}.`;
    },
  });
}
