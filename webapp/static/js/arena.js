// Voting in an arena. Keys: 1 A, 2 B, 3 tie, 4 both bad, s skip (once more to confirm), u undo.
import { Queue } from "./queue.js";

const root = document.getElementById("voting");
const form = document.getElementById("ballot");
if (root && form) {
  const queue = new Queue({
    root, form, pair: ".arena-pair", id: "ballot",
    titles: { a: "A better", b: "B better", tie: "tie", bad: "both bad", skip: "skipped", undo: "undo" },
  });

  // The first s goes to the reason, the second one skips.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "s" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const reason = document.getElementById("reason");
    if (event.target !== reason && event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    if (event.target !== reason) return reason.focus();
    reason.blur();
    queue.decide("skip");
  });
}
