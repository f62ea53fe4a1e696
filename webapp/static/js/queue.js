// A queue of pairs that never waits for the server: the next pairs are on the page already, and decisions are sent behind the
// person's back, in order, again and again until the server has them. What is not saved yet is kept in this browser, so that a
// reload or a lost connection loses nothing. Used by the arena's vote page and by reviews.
const LONGEST_PAUSE = 8000; // milliseconds between two tries
const SENT_BY = AbortSignal.timeout ? () => AbortSignal.timeout(20_000) : () => undefined;

// 32 hexadecimal digits: the server records a request with the same key once.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// What is not saved yet, in localStorage: an entry per decision, so that two tabs do not overwrite each other's.
class Unsaved {
  constructor(address, user) { this.prefix = `concord-queue ${address} ${user} `; }

  keep(decision) {
    try { localStorage.setItem(this.prefix + decision.key, JSON.stringify(decision)); } catch { /* a full or private store */ }
  }

  forget(decision) {
    try { localStorage.removeItem(this.prefix + decision.key); } catch { /* as above */ }
  }

  all() {
    try {
      const names = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix));
      return names.map((name) => JSON.parse(localStorage.getItem(name))).sort((first, second) => first.at - second.at);
    } catch {
      return [];
    }
  }

  has(decision) {
    try { return localStorage.getItem(this.prefix + decision.key) !== null; } catch { return false; }
  }
}

export class Queue {
  // `pair`: the selector of a pair; `id`: the name of its key, in its dataset and in the form; `titles`: outcomes in words;
  // `onSaved(answer)`: called with each answer of the server.
  constructor({ root, form, pair, id, titles, onSaved = () => {} }) {
    Object.assign(this, { root, form, pair, id, titles, onSaved });
    this.pairs = document.getElementById("pairs");
    this.notice = document.getElementById("unsaved");
    this.store = new Unsaved(root.dataset.address, root.dataset.user ?? "");
    this.waiting = this.store.all(); // what is not saved yet, in order
    this.isSending = false;
    this.isComplete = false; // the server has said that there is no further pair
    this.shownAt = performance.now();
    this.decided = []; // keys of what was decided on this page, for undo
    this.listen();
    this.goOn();
  }

  // Go on with what an earlier page did not save.
  goOn() {
    for (const decision of this.waiting) this.element(decision.about)?.remove();
    if (this.waiting.length) { this.show(); this.send(); }
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.decide(event.submitter?.value ?? "skip");
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
      if (event.target.matches("textarea, select, input:not([type=radio])")) return;
      const button = this.form.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
      if (!button || (this.form.hidden && button.value !== "undo")) return;
      event.preventDefault();
      this.decide(button.value);
    });
    addEventListener("beforeunload", (event) => {
      if (this.waiting.some((decision) => !this.store.has(decision))) event.preventDefault();
    });
  }

  all() { return [...this.pairs.querySelectorAll(this.pair)]; }

  current() { return this.pairs.querySelector(`${this.pair}:not([hidden])`); }

  element(key) { return key ? this.pairs.querySelector(`[data-${this.id}="${CSS.escape(key)}"]`) : null; }

  show() {
    const first = this.current() ?? this.all()[0];
    if (first?.hidden) { first.hidden = false; this.shownAt = performance.now(); }
    this.form.hidden = !first;
    // Not form.elements[id]: a collection of elements has a method named item.
    if (first) this.form.querySelector(`input[name="${this.id}"]`).value = first.dataset[this.id];
    document.getElementById("waiting").hidden = Boolean(first) || this.isComplete;
    document.getElementById("no-pairs").hidden = Boolean(first) || !this.isComplete;
  }

  add(html, undone) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const pair = holder.content.firstElementChild;
    const key = pair.dataset[this.id];
    if (this.element(key) || this.waiting.some((decision) => decision.about === key)) return;
    pair.hidden = true;
    if (key !== String(undone)) return this.pairs.append(pair);
    const shown = this.current();
    if (shown) shown.hidden = true;
    this.pairs.prepend(pair);
  }

  decide(outcome) {
    const pair = this.current();
    const isUndo = outcome === "undo";
    if (!isUndo && !pair) return;
    const fields = new URLSearchParams(new FormData(this.form));
    fields.delete("csrfmiddlewaretoken");
    fields.set("outcome", outcome);
    fields.set("seconds", ((performance.now() - this.shownAt) / 1000).toFixed(1));
    const words = pair?.querySelector(".prompt-box .turn:last-child")?.lastChild.textContent.trim() ?? "";
    const decision = { key: newKey(), at: Date.now(), outcome, about: isUndo ? "" : pair.dataset[this.id],
                       title: isUndo ? "the last one" : words.slice(0, 60) || "a pair" };
    fields.set("key", decision.key);
    if (isUndo) fields.set("undone", this.decided.pop() ?? "");
    else this.decided.push(decision.about);
    decision.fields = fields.toString();
    this.waiting.push(decision);
    this.store.keep(decision);
    if (!isUndo) {
      pair.remove();
      for (const radio of this.form.querySelectorAll("input[type=radio]")) radio.checked = false;
      this.show();
      window.scrollTo({ top: 0 });
    }
    this.send();
  }

  async send() {
    if (this.isSending) return;
    this.isSending = true;
    let wait = 500;
    let isRefused = false;
    while (this.waiting.length) {
      const decision = this.waiting[0];
      try {
        const answer = await this.post(decision);
        if (answer.type === "opaqueredirect" || answer.status === 403) { this.isLoggedOut(); break; }
        isRefused = !(await this.take(answer, decision)) || isRefused;
        this.waiting.shift();
        this.store.forget(decision);
        if (!isRefused) this.say("");
        wait = 500;
        this.show();
      } catch {
        this.isLost();
        await new Promise((resolve) => { setTimeout(resolve, wait); });
        wait = Math.min(2 * wait, LONGEST_PAUSE);
      }
    }
    this.isSending = false;
  }

  async post(decision) {
    const fields = new URLSearchParams(decision.fields);
    fields.set("csrfmiddlewaretoken", this.form.elements.csrfmiddlewaretoken.value);
    // What is decided and not saved yet is open on the server still: it must not come back.
    const known = [...this.all().map((pair) => pair.dataset[this.id]), ...this.waiting.map((other) => other.about)];
    fields.set("shown", this.all().length);
    fields.set("present", known.filter(Boolean).join(","));
    const answer = await fetch(this.root.dataset.address, {
      method: "POST", body: fields, headers: { Accept: "application/json" }, redirect: "manual", signal: SENT_BY(),
    });
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    return answer;
  }

  async take(answer, decision) {
    if (!answer.ok) {
      const words = answer.status === 409 ? (await answer.json()).refused : "This page is too old. Reload it.";
      this.say(`Not saved: “${decision.title}” (${this.titles[decision.outcome]}). ${words}`);
      return false;
    }
    const content = await answer.json();
    for (const html of content.pairs) this.add(html, content.undone);
    this.isComplete = content.pairs.length === 0 && this.all().length === 0;
    document.getElementById("summary").innerHTML = content.summary;
    this.onSaved(content, decision);
    return true;
  }

  say(text) {
    this.notice.hidden = !text;
    this.notice.firstElementChild.textContent = text;
  }

  names() {
    return this.waiting.map((decision) => `“${decision.title}” (${this.titles[decision.outcome]})`).join(", ");
  }

  isLost() {
    this.say(`The connection is lost. Not saved yet: ${this.names()}. It is kept in this browser and tried again.`);
  }

  isLoggedOut() {
    this.say(`You are logged out, or may no longer open this page. Not saved yet: ${this.names()}. It is kept in this `
      + "browser: log in, and open this page again.");
  }
}
