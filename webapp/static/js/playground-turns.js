// Inside the pane: the newest answer stays in sight, copy buttons copy, and the page hears which conversation is shown.
(() => {
  const NEAR = 120; // pixels from the end at which a reader counts as following

  const copied = async (button) => {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no secure context: the old way
      const area = button.ownerDocument.createElement("textarea");
      area.value = text;
      button.after(area);
      area.select();
      button.ownerDocument.execCommand("copy");
      area.remove();
      button.focus();
    }
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  };

  // The keys 1 to 4 vote on the newest turn, unless somebody is writing.
  const chosenByKey = (inside, event) => {
    const writes = event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true]");
    if (writes || event.ctrlKey || event.metaKey || event.altKey || !"1234".includes(event.key)) return;
    const buttons = inside.querySelectorAll("#now .vote button[data-outcome]");
    const button = buttons[Number(event.key) - 1];
    if (!button || button.disabled) return;
    event.preventDefault();
    button.click();
  };

  // Calls `follow(chat)` when another conversation is shown, and `renew()` when a turn begins or ends.
  // `vote(address, fields)` saves a vote and says what was wrong, if anything.
  const watch = (inside, { follow, renew, vote }) => {
    let isNear = true, turn = null, wasWriting = false;

    inside.addEventListener("click", (event) => {
      const button = event.target.closest?.("button.copy");
      if (button && button.textContent !== "Copied") copied(button);
      const choice = event.target.closest?.("button[data-outcome]");
      if (choice) cast(choice);
    });
    inside.addEventListener("keydown", (event) => chosenByKey(inside, event));

    const cast = async (choice) => {
      const box = choice.closest(".vote"), buttons = box.querySelectorAll("button[data-outcome]");
      const fields = { turn: box.dataset.turn, outcome: choice.dataset.outcome };
      for (const mark of box.querySelectorAll("input:checked")) fields[`principle-${mark.dataset.principle}`] = mark.value;
      buttons.forEach((button) => { button.disabled = true; });
      const problem = await vote(box.dataset.vote, fields);
      const said = box.querySelector(".vote-problem");
      said.hidden = !problem;
      said.textContent = problem;
      buttons.forEach((button) => { button.disabled = false; });
      if (!problem) {
        inside.getElementById("refresh")?.click();
        renew();
      }
    };

    const look = () => {
      const turns = inside.getElementById("turns");
      const now = inside.querySelector("#now [data-chat]");
      if (!turns || !now) return;
      if (!turns.dataset.watched) {
        turns.dataset.watched = "true";
        turns.tabIndex = 0;
        turns.setAttribute("role", "region");
        turns.setAttribute("aria-label", "Conversation");
        turns.addEventListener("scroll", () => {
          isNear = turns.scrollHeight - turns.scrollTop - turns.clientHeight < NEAR;
        }, { passive: true });
      }
      const isWriting = Boolean(now.querySelector(".is-writing"));
      const isNew = (now.dataset.turn ?? "") !== turn;
      const isChange = turn !== null && (isNew || isWriting !== wasWriting);
      turn = now.dataset.turn ?? "";
      wasWriting = isWriting;
      if (isNew) turns.scrollTop += now.getBoundingClientRect().top - turns.getBoundingClientRect().top - 12;
      else if (isNear) turns.scrollTop = turns.scrollHeight;
      follow(now.dataset.chat);
      if (isChange) renew();
    };
    new MutationObserver(look).observe(inside.body, { childList: true, subtree: true });
    look();
  };

  window.concordTurns = { watch, chosenByKey };
})();
