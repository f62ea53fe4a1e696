// The live socket of a run: reconnects with back-off, after sleep, and whenever the network is back.

const LONGEST_WAIT = 4000;
const GONE = 4404; // logged out, or not in the team any more: asking again is no use

export class Live {
  // `cursor()` says how far the page has read; `onMessage` gets deltas and resyncs; `onState` "live", "waiting".
  constructor(run, { cursor, onMessage, onState }) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.address = `${scheme}://${location.host}/ws/runs/${run}/`;
    this.cursor = cursor;
    this.onMessage = onMessage;
    this.onState = onState;
    this.wait = 500;
    this.open();
    addEventListener("online", () => this.again());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket?.readyState !== WebSocket.OPEN) this.again();
    });
    // A laptop that was closed wakes with a socket that looks open and is not.
    let last = Date.now();
    setInterval(() => {
      if (Date.now() - last > 20000) this.again();
      last = Date.now();
    }, 5000);
  }

  open() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.addEventListener("open", () => {
      this.wait = 500;
      this.onState("live");
      this.subscribe();
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.socket) this.onMessage(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket !== this.socket) return;
      if (code === GONE) return this.onState("gone");
      this.onState("waiting");
      this.timer = setTimeout(() => this.open(), this.wait * (0.7 + 0.6 * Math.random()));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    });
  }

  // Say again how far the page has read, e.g. after a new snapshot.
  subscribe() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ since: this.cursor() }));
  }

  again() {
    clearTimeout(this.timer);
    const old = this.socket;
    this.socket = null;
    old?.close();
    this.open();
  }
}
