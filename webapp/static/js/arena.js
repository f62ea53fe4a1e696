// Voting without waiting: the next pairs are on the page already, and votes are sent behind the voter's back, in order, again
// and again until the server has them. Keys: 1 A, 2 B, 3 tie, 4 both bad, s skip (once more to confirm), u undo.
(() => {
  const root = document.getElementById("voting");
  const form = document.getElementById("ballot");
  if (!root || !form) return;
  const pairs = document.getElementById("pairs");
  const unsaved = document.getElementById("unsaved");
  const TITLES = { a: "A better", b: "B better", tie: "tie", bad: "both bad", skip: "skipped", undo: "undo" };
  const LONGEST_PAUSE = 8000; // milliseconds between two tries

  const queue = []; // what is not saved yet, in order
  let isSending = false;
  let isComplete = false; // the server has said that there is no further pair

  const all = () => [...pairs.querySelectorAll(".arena-pair")];
  const current = () => pairs.querySelector(".arena-pair:not([hidden])");

  const show = () => {
    const first = current() ?? all()[0];
    if (first) first.hidden = false;
    form.hidden = !first;
    if (first) form.elements.ballot.value = first.dataset.ballot;
    document.getElementById("waiting").hidden = Boolean(first) || isComplete;
    document.getElementById("no-pairs").hidden = Boolean(first) || !isComplete;
  };

  const add = (html, undone) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const pair = holder.content.firstElementChild;
    if (pairs.querySelector(`[data-ballot="${CSS.escape(pair.dataset.ballot)}"]`)) return;
    pair.hidden = true;
    if (pair.dataset.ballot === String(undone)) {
      const shown = current();
      if (shown) shown.hidden = true;
      pair.hidden = false;
      pairs.prepend(pair);
    } else pairs.append(pair);
  };

  const say = (text) => {
    unsaved.hidden = !text;
    unsaved.firstElementChild.textContent = text;
  };

  const isLost = () => {
    const names = queue.map((vote) => `“${vote.title}” (${TITLES[vote.outcome]})`).join(", ");
    say(`The connection is lost. Not saved yet: ${names}. It is tried again; leave this page open.`);
  };

  const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

  const post = async (vote) => {
    const fields = new URLSearchParams(vote.fields);
    // What is voted on and not saved yet is open on the server still: it must not come back.
    const known = [...all().map((pair) => pair.dataset.ballot), ...queue.map((waiting) => waiting.ballot)];
    fields.set("present", known.filter(Boolean).join(","));
    const answer = await fetch(root.dataset.address, {
      method: "POST", body: fields, headers: { Accept: "application/json" }, redirect: "manual",
      signal: AbortSignal.timeout(20_000),
    });
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    return answer;
  };

  const take = async (answer, vote) => {
    if (!answer.ok) {
      const words = answer.status === 409 ? (await answer.json()).refused
        : "You are logged out, or this page is too old. Reload it and log in.";
      say(`Not saved: “${vote.title}” (${TITLES[vote.outcome]}). ${words}`);
      return false;
    }
    const { pairs: html, undone, summary } = await answer.json();
    for (const pair of html) add(pair, undone);
    isComplete = html.length === 0 && all().length === 0;
    document.getElementById("summary").innerHTML = summary;
    return true;
  };

  const send = async () => {
    if (isSending) return;
    isSending = true;
    let wait = 500;
    let isRefused = false;
    while (queue.length) {
      try {
        const answer = await post(queue[0]);
        isRefused = !(await take(answer, queue[0])) || isRefused;
        queue.shift();
        if (!isRefused) say("");
        wait = 500;
        show();
      } catch {
        isLost();
        await pause(wait);
        wait = Math.min(2 * wait, LONGEST_PAUSE);
      }
    }
    isSending = false;
  };

  const vote = (outcome) => {
    const pair = current();
    if (outcome !== "undo" && !pair) return;
    const fields = new URLSearchParams(new FormData(form));
    fields.set("outcome", outcome);
    const words = pair?.querySelector(".turn:last-child")?.lastChild.textContent.trim() ?? "";
    const title = outcome === "undo" ? "the last vote" : words.slice(0, 60) || "a pair";
    const ballot = outcome === "undo" ? "" : pair.dataset.ballot;
    queue.push({ fields: fields.toString(), outcome, title, ballot });
    if (outcome !== "undo") {
      pair.remove();
      for (const radio of form.querySelectorAll("input[type=radio]")) radio.checked = false;
      show();
      window.scrollTo({ top: 0 });
    }
    send();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    vote(event.submitter?.value ?? "skip");
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const reason = document.getElementById("reason");
    if (event.key === "s" && (event.target === reason || !event.target.matches("input, textarea, select"))) {
      event.preventDefault();
      if (event.target !== reason) return reason.focus();
      reason.blur();
      return vote("skip");
    }
    if (event.target.matches("textarea, select, input:not([type=radio])")) return;
    const button = form.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!button) return;
    event.preventDefault();
    vote(button.value);
  });

  addEventListener("beforeunload", (event) => { if (queue.length) event.preventDefault(); });
})();
