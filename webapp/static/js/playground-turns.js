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

  // Calls `follow(chat)` when another conversation is shown, and `renew()` when a turn begins or ends.
  const watch = (inside, { follow, renew }) => {
    let isNear = true, turn = null, wasWriting = false;

    inside.addEventListener("click", (event) => {
      const button = event.target.closest?.("button.copy");
      if (button && button.textContent !== "Copied") copied(button);
    });

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

  window.concordTurns = { watch };
})();
