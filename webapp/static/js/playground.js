// The playground's page: opens the pane in the site's theme, keeps it in it and inside the window, and keeps the address
// and the history in step with the conversation that the pane shows.
(() => {
  const pane = document.getElementById("pane");
  const list = document.getElementById("history");
  const frame = document.querySelector(".frame"); // on a phone it leaves room at its end for the rail
  const opened = document.querySelector("#history-search input[name=chat]");
  const wide = matchMedia("(min-width: 1100px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const inside = () => pane.contentDocument;

  const address = new URL(pane.dataset.src, location.href);
  address.searchParams.set("__theme", theme());
  pane.src = address;

  // The pane's colours hang on its root, Gradio's own rules on its body.
  const paint = () => {
    const root = inside()?.documentElement;
    if (!root) return;
    root.dataset.theme = theme();
    inside().body?.classList.toggle("dark", theme() === "dark");
  };
  document.addEventListener("concord:theme", paint);
  dark.addEventListener("change", paint);

  // As tall as the window has room for: the turns scroll inside, and the prompt stays in sight.
  const fit = () => {
    const below = parseFloat(getComputedStyle(frame).paddingBottom) || 0;
    const room = innerHeight - pane.getBoundingClientRect().top - scrollY - below - 12;
    pane.height = Math.round(Math.max(room, 440));
    list.style.maxHeight = wide.matches ? `${pane.height}px` : "";
  };
  const fold = () => { list.open = wide.matches; fit(); };
  wide.addEventListener("change", fold);
  addEventListener("resize", fit);
  list.addEventListener("toggle", fit);
  fold();

  // A conversation gets its address with its first prompt, so that a reload shows it again.
  const link = document.getElementById("copy-link");
  link.addEventListener("click", async () => {
    let label = "Copied";
    try {
      await navigator.clipboard.writeText(location.href);
    } catch { // no secure context: the address bar has it
      label = "Copy it from the address bar";
    }
    link.textContent = label;
    setTimeout(() => { link.textContent = "Copy link"; }, 2000);
  });
  let shown = opened.value;
  const follow = (chat) => {
    if (chat === shown) return;
    shown = opened.value = chat;
    const here = new URL(location.href);
    here.search = chat ? `?chat=${encodeURIComponent(chat)}` : "";
    history.replaceState(history.state, "", here);
    link.hidden = !chat;
  };
  const renew = () => document.body.dispatchEvent(new CustomEvent("concord:history"));

  // A vote is on its way even if the page is left at once.
  const token = document.querySelector("#playground input[name=csrfmiddlewaretoken]").value;
  const vote = async (address, fields) => {
    try {
      const answer = await fetch(address, { method: "POST", keepalive: true, body: new URLSearchParams(fields),
        headers: { "X-CSRFToken": token } });
      if (answer.ok) return "";
      const refused = answer.status === 409 ? (await answer.json()).refused : "";
      return refused || "The vote was not saved. Reload the page and vote again.";
    } catch {
      return "The vote was not saved: the server does not answer. Vote again in a moment.";
    }
  };
  document.addEventListener("keydown", (event) => {
    if (inside()) window.concordTurns?.chosenByKey(inside(), event);
  });

  pane.addEventListener("load", () => {
    paint();
    fit();
    window.concordTurns?.watch(inside(), { follow, renew, vote });
  });
})();
