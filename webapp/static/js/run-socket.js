// The live socket of a run: reconnects with back-off, after sleep, and whenever the network is back.
import { PROTOCOL, toLine, toNewSample, toPoints } from "./messages.js";

const LONGEST_WAIT = 4000;
const GONE = 4404; // logged out, or not in the team any more: asking again is no use

/** @returns {import("./messages.js").Message} */
const decoded = (text) => {
  const message = JSON.parse(text);
  if (message.type !== "delta") return message;
  const { points, log, samples } = message;
  return { ...message, points: points?.map(toPoints), log: log?.map(toLine), samples: samples?.map(toNewSample) };
};

export class Live {
  // `cursor()` says how far the page has read; `onMessage` gets deltas and resyncs; `onState` "live", "waiting", "gone"
  // (who asks may not see the run), "outdated" (the server speaks another protocol than this script).
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
      if (socket !== this.socket) return;
      const message = decoded(data);
      if (message.type === "hello" && message.protocol !== PROTOCOL) this.outdate();
      else if (message.type === "delta" || message.type === "resync") this.onMessage(message);
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
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ since: this.cursor() }));
  }

  // Another version of Concord answers: what it says might be misread, so the page keeps what it shows.
  outdate() {
    this.outdated = true;
    this.socket.close();
    this.socket = null;
    this.onState("outdated");
  }

  again() {
    if (this.outdated) return;
    clearTimeout(this.timer);
    const old = this.socket;
    this.socket = null;
    old?.close();
    this.open();
  }
}
