// The frame's behaviour: theme switch, colours for canvases, toasts, lost sessions, and the command palette.
(() => {
  const root = document.documentElement;

  const rememberTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try { localStorage.setItem("concord-theme", theme); } catch { /* the cookie remembers */ }
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
    for (const button of document.querySelectorAll(".theme-switch button")) {
      button.setAttribute("aria-pressed", String(button.value === theme));
    }
    document.dispatchEvent(new CustomEvent("concord:theme", { detail: theme }));
  };

  document.addEventListener("submit", (event) => {
    if (!event.target.matches(".theme-switch") || !event.submitter) return;
    event.preventDefault();
    rememberTheme(event.submitter.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("concord:theme", { detail: "system" }));
  });

  // The colour that a token has now, e.g. color("--accent"), or of a principle, color("--hue", "toxicity").
  const color = (token, principle) => {
    const probe = document.createElement("span");
    if (principle) probe.className = `hue-${principle}`;
    probe.classList.add("visually-hidden");
    document.body.append(probe);
    probe.style.color = `var(${token})`;
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };

  const toast = (text) => {
    let box = document.querySelector(".toasts");
    if (!box) {
      box = document.createElement("div");
      box.className = "toasts";
      box.setAttribute("role", "status");
      document.body.append(box);
    }
    const item = document.createElement("div");
    item.className = "toast";
    item.textContent = text;
    box.append(item);
    setTimeout(() => item.remove(), 6000);
  };

  window.concord = { color, toast };

  // A fragment that was answered by the login page: the session is over, so show that page whole.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const answered = event.detail.xhr.responseURL;
    if (answered && new URL(answered).pathname === document.body.dataset.login) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:responseError", (event) => {
    const quiet = event.detail.elt.closest("[data-quiet]");
    if (!quiet) toast(`The server reported an error (${event.detail.xhr.status}). Reload the page and try again.`);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!event.detail.elt.closest("[data-quiet]")) toast("The server did not answer. Check that it is running.");
  });

  // The command palette: Ctrl-K, a few letters, Enter. The button that opens it is there only with JavaScript.
  const opener = document.querySelector(".palette-open");
  let palette, input, list, wanted = 0;

  const build = () => {
    palette = document.createElement("dialog");
    palette.className = "palette";
    palette.setAttribute("aria-label", "Find");
    input = document.createElement("input");
    Object.assign(input, { type: "text", placeholder: "Find a page, run, principle or dataset", autocomplete: "off" });
    for (const [name, value] of Object.entries({ role: "combobox", "aria-label": "Find", "aria-expanded": "true",
      "aria-controls": "palette-list", "aria-autocomplete": "list" })) input.setAttribute(name, value);
    list = document.createElement("ul");
    Object.assign(list, { id: "palette-list", role: "listbox" });
    list.setAttribute("aria-label", "Found");
    palette.append(input, list);
    document.body.append(palette);
    input.addEventListener("input", fill);
    input.addEventListener("keydown", steer);
    list.addEventListener("click", (event) => go(event.target.closest("li")));
    palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });
  };

  const select = (item) => {
    for (const child of list.children) child.setAttribute("aria-selected", String(child === item));
    if (item) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
    else input.removeAttribute("aria-activedescendant");
  };
  const selected = () => list.querySelector('[aria-selected="true"]');
  const go = (item) => { if (item?.dataset.address) location.assign(item.dataset.address); };

  const fill = async () => {
    const mine = ++wanted;
    const answer = await fetch(`${opener.dataset.search}?q=${encodeURIComponent(input.value)}`);
    if (!answer.ok || answer.redirected || mine !== wanted) return;
    const { found } = await answer.json();
    if (mine !== wanted) return;
    list.replaceChildren(...found.map((place, index) => {
      const item = document.createElement("li");
      Object.assign(item, { id: `palette-${index}`, role: "option" });
      item.dataset.address = place.address;
      const title = document.createElement("span"), kind = document.createElement("small");
      title.className = "clip";
      title.textContent = place.title;
      kind.textContent = place.kind;
      item.append(title, kind);
      return item;
    }));
    if (!found.length) {
      const none = document.createElement("li");
      none.role = "option";
      none.textContent = "No results. Check the spelling.";
      list.append(none);
    }
    select(list.firstElementChild);
  };

  const steer = (event) => {
    const now = selected();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = event.key === "ArrowDown" ? now?.nextElementSibling : now?.previousElementSibling;
      if (next) select(next);
    } else if (event.key === "Enter") {
      event.preventDefault();
      go(now);
    }
  };

  const openPalette = () => {
    if (!palette) build();
    if (palette.open) return;
    input.value = "";
    palette.showModal();
    input.focus();
    fill();
  };

  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", openPalette);
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette();
      }
    });
  }

  // Menus close on Escape and on a click elsewhere.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  });
})();
