/**
 * A client of Nova's channels (docs/realtime.md): one file, no dependencies.
 *
 *     import { Realtime } from "./realtime.js";
 *     const realtime = new Realtime("/v1/ws", { token: async () => (await fetch("/my/token")).text() });
 *     const room = realtime.subscribe("public:lobby");
 *     room.addEventListener("publication", ({ detail }) => console.log(detail.data));
 *     await room.publish({ text: "hello" });
 *
 * `Machine` decides and does no I/O; `Realtime` is the WebSocket and the timers around it. The same machine in Python:
 * realtime/client; both are held to tests/realtime/client/scenarios.py. Times are whole milliseconds.
 *
 * @typedef {{offset: number, epoch: string}} Place
 * @typedef {{offset: number, data: any, at: number, info: any, replayed: boolean}} Publication
 * @typedef {{code: string, message: string, retry_ms?: number}} Refusal
 * @typedef {"stopped"|"waiting"|"token"|"opening"|"greeting"|"connected"} State
 * @typedef {Record<string, any>} Effect
 * @typedef {{ticket: number, kind: string, body: any, until: number, ours: Channel|null}} Call
 */

const FIRST_MS = 500; // pause before the first try; doubles with each
const LONGEST_MS = 30_000;
const STABLE_MS = 10_000; // a connection that held for so long starts the pauses anew
const UNANSWERED = 100; // commands sent and not answered; the server takes 128
const WAITING = 256; // calls that wait for a connection or a reply; one more is refused
const OPEN_MS = 15_000; // for the WebSocket and the reply to `connect`
const CALL_MS = 15_000; // for a reply, over broken connections too; the server remembers idempotency keys for five minutes
const PING_MS = 25_000; // of silence before we ask; the server may say another time
const PONG_MS = 10_000; // for the answer
const HELD = 1000; // publications held behind a gap, or before the reply to `subscribe`
const PAGE = 1000; // publications of one history reply
const FRAME = 32_768; // bytes of commands that go together; the server ends a connection for a message above 64 KiB
const COMMAND = 65_536 - 256; // bytes of a call: with its id and its idempotency key it is a message of its own
const TRANSIENT = ["unavailable", "overloaded", "shutting_down", "rate_limited", "internal", "deadline"];
const TOKEN = ["unauthenticated", "bad_token", "token_expired", "token_revoked"];

/**
 * What to do after a close code or `unsub`; 1006 is a connection that broke.
 *
 * @param {number} code
 * @returns {"back off"|"token"|"stop"}
 */
export function afterClose(code) {
  if ((code >= 4000 && code <= 4199) || [1001, 1006, 1011, 1012, 1013].includes(code)) return "back off";
  return code >= 4200 && code <= 4299 ? "token" : "stop";
}

/** What to do after an error reply to `connect`, `subscribe`, or the `history` that fills a gap. @param {Refusal} error */
export function afterError(error) {
  if (TOKEN.includes(error.code)) return "token";
  return "retry_ms" in error || TRANSIENT.includes(error.code) ? "back off" : "stop";
}

/** ms before the next try after `tries` that failed in a row; half of it is chance. @param {number} tries @param {number} random 0…1 */
export const pause = (tries, random) =>
  Math.round(Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries, 10)) * (0.5 + random / 2));

/** ms to wait when the server has said `reconnect_after_ms`: about so long. @param {number} afterMs @param {number} random */
export const advised = (afterMs, random) => Math.round(afterMs * (0.75 + random / 2));

/** One subscription: where it stands, what it has seen, what it waits for. Publications come out in order, each once. */
class Channel {
  /** @param {string} name @param {[number, string]|null} place offset and epoch to recover from */
  constructor(name, place) {
    this.name = name;
    this.offset = place?.[0] ?? 0;
    this.epoch = place?.[1] ?? "";
    this.placed = place !== null;
    this.joined = false;
    this.asked = false;
    this.tries = 0;
    /** @type {number|null} */
    this.retryAt = null;
    /** @type {Effect[]} */
    this.events = [];
    /** @type {any[]} `pub` and `gap`, in order */
    this.held = [];
    /** @type {{from: number, to: number, epoch: string}|null} that is being filled */
    this.gap = null;
    this.filled = 0;
  }

  get recover() {
    return this.placed ? { recover: { offset: this.offset, epoch: this.epoch } } : {};
  }

  /** What was held is recovered with the rest. */
  lostConnection() {
    this.joined = this.asked = false;
    this.gap = null;
    this.held = [];
  }

  /** The reply to `subscribe`. @param {any} reply @returns {any} the body of a `history` to be sent, or null */
  subscribed(reply) {
    const same = reply.epoch === this.epoch;
    if (this.placed && !reply.recovered) {
      const before = (reply.publications[0]?.offset ?? 0) - 1;
      const [from, to] = same ? [this.offset + 1, before > this.offset ? before : reply.offset] : [0, 0];
      this.tell("gap", { epoch: reply.epoch, recovered: 0, from, to });
    }
    if (!same) [this.offset, this.epoch] = [0, reply.epoch];
    const again = this.placed;
    this.placed = this.joined = true;
    this.tries = 0;
    this.retryAt = null;
    this.tell("joined", { offset: reply.offset, epoch: reply.epoch, recovered: reply.recovered, again });
    for (const publication of reply.publications) this.publication(publication, !again);
    this.offset = Math.max(this.offset, reply.offset);
    return this.release();
  }

  /** `pub`, `gap`, `join` or `leave`. @param {string} kind @param {any} body @returns {any} as `subscribed` */
  push(kind, body) {
    if (kind === "join" || kind === "leave") {
      this.tell(kind, { user: body.user, client: body.client });
      return null;
    }
    if (!this.joined || this.gap !== null) {
      this.held.push({ kind, ...body });
      return this.held.length > HELD ? this.giveUp() : null;
    }
    if (kind === "pub") {
      this.publication(body);
      return null;
    }
    return this.fill(body);
  }

  /** What the history had for the gap, null: it is gone. @param {any} reply @returns {any} the next `history`, or null */
  history(reply) {
    if (this.gap === null) return null;
    this.tries = 0;
    const last = this.offset;
    for (const publication of reply !== null && reply.epoch === this.epoch ? reply.publications : []) {
      if (publication.offset <= this.gap.to) this.filled += this.publication(publication);
    }
    if (reply?.more && last < this.offset && this.offset < this.gap.to) return this.ask();
    return this.finish();
  }

  /** The `history` that could not be had, once more; null: nobody waits for it any longer. */
  refill() {
    return this.gap === null ? null : this.ask();
  }

  /** @param {any} gap */
  fill(gap) {
    if (gap.epoch !== this.epoch || gap.to <= this.offset) return null;
    this.gap = gap;
    this.filled = 0;
    this.offset = Math.max(this.offset, gap.from - 1);
    return this.ask();
  }

  ask() {
    return { channel: this.name, since: { offset: this.offset, epoch: this.epoch }, limit: PAGE };
  }

  giveUp() {
    if (this.gap !== null) return this.finish();
    this.held.shift(); // a reply that does not come: its publications come with it
    return null;
  }

  finish() {
    const gap = /** @type {{from: number, to: number}} */ (this.gap);
    this.gap = this.retryAt = null;
    this.tries = 0;
    this.offset = Math.max(this.offset, gap.to);
    this.tell("gap", { epoch: this.epoch, recovered: this.filled, from: gap.from, to: gap.to });
    return this.release();
  }

  release() {
    while (this.held.length > 0 && this.gap === null) {
      const { kind, ...body } = this.held.shift();
      if (kind === "pub") this.publication(body);
      else {
        const asked = this.fill(body);
        if (asked !== null) return asked;
      }
    }
    return null;
  }

  /** @param {any} publication @param {boolean} replayed @returns {number} 1 when it is new */
  publication({ offset, data = null, at = null, info = null }, replayed = false) {
    if (offset <= this.offset && !replayed) return 0;
    this.offset = Math.max(this.offset, offset);
    this.tell("publication", { replayed, offset, data, at, info });
    return 1;
  }

  /** @param {string} event @param {object} facts */
  tell(event, facts) {
    this.events.push({ event, channel: this.name, ...facts });
  }
}

/** The client without I/O: what was received, asked and ticked comes in; what to send, open, close and tell goes out. */
export class Machine {
  /** @param {{random: () => number, key: () => string, hasToken?: boolean, name?: string|null}} options key: makes idempotency keys */
  constructor({ random, key, hasToken = false, name = null }) {
    this.random = random;
    this.key = key;
    this.hasToken = hasToken;
    this.name = name;
    /** @type {State} */
    this.state = "stopped";
    /** @type {Map<string, Channel>} */
    this.channels = new Map();
    /** @type {Effect[]} */
    this.out = [];
    /** @type {Map<number, Call>} by ticket */
    this.calls = new Map();
    /** @type {Map<number, Call>} by the command's id */
    this.sent = new Map();
    /** @type {Call[]} */
    this.queue = [];
    this.lastTicket = this.lastId = this.tries = this.openedAt = this.heardAt = this.lifetimeMs = 0;
    /** @type {number|null} */
    this.retryAt = null;
    /** @type {number|null} */
    this.advisedMs = null;
    /** @type {number|null} */
    this.refreshAt = null;
    this.refreshing = false;
    /** @type {number|null} since when we wait for the answer */
    this.pingedAt = null;
    this.pingMs = PING_MS;
    /** @type {string|null} */
    this.bearer = null;
  }

  // -- the application

  /** Be connected from now on. @param {number} now */
  start(now) {
    if (this.state !== "stopped") return;
    this.tries = 0;
    this.open(now);
  }

  /** Not any more. @param {number} now */
  stop(now) {
    this.end(1000, "", ["opening", "greeting", "connected"].includes(this.state));
  }

  /**
   * The network is back, or somebody looks again: a pause ends now, unless the server asked for it; a connection is asked whether it still is one.
   *
   * @param {number} now
   */
  wake(now) {
    if (this.state === "waiting" && this.advisedMs === null) this.open(now);
    else if (this.state === "connected") this.ping(now);
  }

  /** Follow a channel, over every connection. @param {string} name @param {number} now @param {[number, string]|null} place */
  subscribe(name, now, place = null) {
    if (this.channels.has(name)) return;
    const channel = new Channel(name, place);
    this.channels.set(name, channel);
    if (this.state === "connected") this.join(channel);
  }

  /** @param {string} name @param {number} now */
  unsubscribe(name, now) {
    const channel = this.channels.get(name);
    this.channels.delete(name);
    if (channel && (channel.joined || channel.asked) && this.state === "connected")
      this.command("unsubscribe", { channel: name }, new Channel(name, null));
  }

  /**
   * `publish`, `history` or `presence`; survives broken connections.
   *
   * @param {string} kind @param {any} body @param {number} now @param {number} timeoutMs
   * @returns {number} a ticket that `resolve` or `reject` will name
   */
  call(kind, body, now, timeoutMs = CALL_MS) {
    const ticket = ++this.lastTicket;
    if (this.calls.size >= WAITING) {
      this.reject(ticket, { code: "overloaded", message: "too many calls wait" });
      return ticket;
    }
    if (kind === "publish" && !("idempotency_key" in body)) body = { ...body, idempotency_key: this.key() };
    if (this.state === "stopped") {
      this.reject(ticket, { code: "stopped", message: "the client is not connected" });
      return ticket;
    }
    /** @type {Call} */
    const made = { ticket, kind, body, until: now + timeoutMs, ours: null };
    this.calls.set(ticket, made);
    this.queue.push(made);
    this.flush();
    return ticket;
  }

  // -- the shell

  /** What to do, in order; each once: `open`, `send` [commands], `close` code, `token`, `event`, `resolve`, `reject`. @returns {Effect[]} */
  effects() {
    for (const channel of this.channels.values()) this.out.push(...channel.events.splice(0));
    return this.out.splice(0);
  }

  /** When to call `tick`. @returns {number|null} */
  get deadline() {
    const times = [...this.calls.values()].map((call) => call.until);
    if (this.state === "waiting" && this.retryAt !== null) times.push(this.retryAt);
    else if (this.state === "opening" || this.state === "greeting") times.push(this.openedAt + OPEN_MS);
    else if (this.state === "connected") {
      times.push(this.pingedAt === null ? this.heardAt + this.pingMs : this.pingedAt + PONG_MS);
      for (const { retryAt } of this.channels.values()) if (retryAt !== null) times.push(retryAt);
      if (this.refreshAt !== null) times.push(this.refreshAt);
    }
    return times.length > 0 ? Math.min(...times) : null;
  }

  /** @param {number} now */
  tick(now) {
    for (const late of [...this.calls.values()].filter((call) => call.until <= now)) {
      this.finish(late);
      this.reject(late.ticket, { code: "deadline", message: "no reply in time" });
    }
    if (this.state === "waiting" && this.retryAt !== null && this.retryAt <= now) this.open(now);
    else if ((this.state === "opening" || this.state === "greeting") && this.openedAt + OPEN_MS <= now)
      this.broken(4004, "deadline", now);
    else if (this.state === "connected") this.tickConnected(now);
  }

  /** The answer to the effect `token`; null: there is none to be had now. @param {string|null} value @param {number} now */
  token(value, now) {
    if (this.refreshing) {
      this.refreshing = false;
      if (value === null) this.refreshSoon(now);
      else {
        this.bearer = value;
        this.command("refresh", { token: value }, new Channel("", null));
      }
    } else if (this.state === "token") {
      this.bearer = value;
      if (value === null) this.wait(now, {});
      else this.dial(now);
    }
  }

  /** The WebSocket is open. @param {number} now */
  opened(now) {
    if (this.state !== "opening") return;
    this.state = "greeting";
    this.heardAt = now;
    const body = { ...(this.bearer !== null && { token: this.bearer }), ...(this.name !== null && { name: this.name }) };
    this.command("connect", body, new Channel("", null));
  }

  /** The WebSocket is closed, or could not be opened (1006). @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (["opening", "greeting", "connected"].includes(this.state)) this.over(afterClose(code), code, reason, now);
  }

  /** A frame's value: one reply or push, or an array of them. @param {any} item @param {number} now */
  received(item, now) {
    if (this.state !== "greeting" && this.state !== "connected") return;
    this.heardAt = now;
    this.pingedAt = null;
    for (const each of Array.isArray(item) ? item : [item]) {
      if (this.state !== "greeting" && this.state !== "connected") break;
      if ("id" in each) this.reply(each, now);
      else {
        const [kind] = Object.keys(each);
        this.push(kind, each[kind], now);
      }
    }
    this.flush();
  }

  // -- inside

  /** @param {number} now */
  tickConnected(now) {
    if (this.pingedAt !== null && this.pingedAt + PONG_MS <= now) {
      this.broken(4006, "silent", now);
      return;
    }
    if (this.heardAt + this.pingMs <= now) this.ping(now);
    for (const channel of this.channels.values()) {
      if (channel.retryAt !== null && channel.retryAt <= now) {
        channel.retryAt = null;
        if (channel.joined) this.more(channel, channel.refill());
        else this.join(channel);
      }
    }
    if (this.refreshAt !== null && this.refreshAt <= now) {
      this.refreshAt = now + this.lifetimeMs;
      this.refreshing = true;
      this.out.push({ token: "refresh" });
    }
  }

  /**
   * Ask whether the other side is there. The answer has its time from now on, however late this is: tabs sleep, and so do computers.
   *
   * @param {number} now
   */
  ping(now) {
    if (this.pingedAt !== null) return;
    this.pingedAt = now;
    this.command("ping", {}, new Channel("", null));
  }

  /** @param {number} now */
  open(now) {
    this.retryAt = this.advisedMs = null;
    if (!this.hasToken) {
      this.dial(now);
      return;
    }
    this.become("token");
    this.out.push({ token: "connect" });
  }

  /** @param {number} now */
  dial(now) {
    this.openedAt = now;
    this.become("opening");
    this.out.push({ open: true });
  }

  /** @param {State} state @param {object} facts */
  become(state, facts = {}) {
    this.state = state;
    this.out.push({ event: "state", state, ...facts });
  }

  /** A command of the machine itself: it is sent at once. @param {string} kind @param {any} body @param {Channel} ours */
  command(kind, body, ours) {
    this.send({ ticket: 0, kind, body, until: 0, ours });
  }

  /** @param {Call} call */
  send(call) {
    this.lastId = (this.lastId % (2 ** 31 - 1)) + 1;
    this.sent.set(this.lastId, call);
    const command = { id: this.lastId, [call.kind]: call.body };
    const last = this.out[this.out.length - 1];
    if (last?.send?.length < UNANSWERED) last.send.push(command); // a frame holds 128
    else this.out.push({ send: [command] });
  }

  flush() {
    while (this.state === "connected" && this.queue.length > 0 && this.sent.size < UNANSWERED)
      this.send(/** @type {Call} */ (this.queue.shift()));
  }

  /** @param {Channel} channel */
  join(channel) {
    channel.asked = true;
    this.command("subscribe", { channel: channel.name, ...channel.recover }, channel);
  }

  /** @param {any} item @param {number} now */
  reply(item, now) {
    const call = this.sent.get(item.id);
    if (call === undefined) return;
    this.sent.delete(item.id);
    const error = item.error ?? null;
    if (call.ours === null) {
      this.finish(call);
      if (error === null) this.out.push({ resolve: call.ticket, value: item[call.kind] });
      else this.reject(call.ticket, error);
    } else if (call.kind === "connect") this.greeted(item, error, now);
    else if (call.kind === "refresh" && error === null) this.lasts(item.refresh, now);
    else if (call.kind === "refresh") this.refreshSoon(now);
    else if (this.channels.get(call.ours.name) !== call.ours) return;
    else if (call.kind === "subscribe") this.joined(call.ours, item, error, now);
    else if (call.kind === "history") this.filled(call.ours, item, error, now);
  }

  /** @param {any} item @param {Refusal|null} error @param {number} now */
  greeted(item, error, now) {
    if (error !== null && error.code !== "conflict") {
      // conflict: the upgrade has said who we are
      this.out.push({ close: 1000 });
      this.over(afterError(error), 0, error.code, now);
      return;
    }
    const { client = null, user = null, ping_s: ping = PING_MS / 1000 } = item.connect ?? {};
    this.pingMs = Math.trunc(ping * 1000);
    this.lasts(item.connect ?? {}, now);
    this.openedAt = now;
    this.become("connected", { client, user });
    for (const channel of this.channels.values()) this.join(channel);
    this.flush();
  }

  /** @param {{ expires_in?: number|null }} reply @param {number} now */
  lasts({ expires_in: expires = null }, now) {
    if (!expires || !this.hasToken) return;
    this.lifetimeMs = Math.max(1000, Math.trunc(expires * 1000 * 0.8));
    this.refreshAt = now + this.lifetimeMs;
  }

  /** @param {Channel} channel @param {any} item @param {Refusal|null} error @param {number} now */
  joined(channel, item, error, now) {
    channel.asked = false;
    if (error === null) this.more(channel, channel.subscribed(item.subscribe));
    else if (this.forGood(afterError(error))) this.left(channel, 0, error.code);
    else this.later(channel, error.retry_ms ?? 0, now);
  }

  /** @param {Channel} channel @param {any} item @param {Refusal|null} error @param {number} now */
  filled(channel, item, error, now) {
    if (error === null) this.more(channel, channel.history(item.history));
    else if (this.forGood(afterError(error))) this.more(channel, channel.history(null));
    else if (channel.refill() !== null) this.later(channel, error.retry_ms ?? 0, now);
  }

  /** There was no token, or not a good one: a few more tries before the one that we have ends. @param {number} now */
  refreshSoon(now) {
    this.refreshAt = now + Math.max(1000, Math.trunc(this.lifetimeMs / 20));
  }

  /** @param {string} what @returns {boolean} */
  forGood(what) {
    return what === "stop" || (what === "token" && !this.hasToken);
  }

  /** What a channel waits for is asked for again. @param {Channel} channel @param {number} leastMs @param {number} now */
  later(channel, leastMs, now) {
    channel.retryAt = now + Math.max(leastMs, pause(channel.tries++, this.random()));
  }

  /** @param {Channel} channel @param {number} code @param {string} reason */
  left(channel, code, reason) {
    this.channels.delete(channel.name);
    this.out.push(...channel.events, { event: "left", channel: channel.name, code, reason });
  }

  /** @param {string} kind @param {any} body @param {number} now */
  push(kind, body, now) {
    if (kind === "bye") {
      this.advisedMs = advised(body.reconnect_after_ms, this.random());
      return;
    }
    const channel = this.channels.get(body.channel);
    if (channel === undefined) return;
    if (kind === "unsub") {
      if (afterClose(body.code) === "stop") this.left(channel, body.code, body.reason);
      else {
        channel.lostConnection();
        this.later(channel, 0, now);
      }
    } else if (["pub", "gap", "join", "leave"].includes(kind)) this.more(channel, channel.push(kind, body));
  }

  /** @param {Channel} channel @param {any} history */
  more(channel, history) {
    if (history !== null) this.command("history", history, channel);
  }

  /** @param {number} code @param {string} reason @param {number} now */
  broken(code, reason, now) {
    this.out.push({ close: code });
    this.over(afterClose(code), code, reason, now);
  }

  /** The connection is over: go on by `what`. @param {string} what @param {number} code @param {string} reason @param {number} now */
  over(what, code, reason, now) {
    if (this.state === "connected" && now - this.openedAt >= STABLE_MS) this.tries = 0;
    this.drop();
    if (this.forGood(what)) this.end(code, reason, false);
    else this.wait(now, { code, reason });
  }

  /** Nothing of the connection is left; calls that were sent go out again, first ones first. */
  drop() {
    const again = [...this.sent.values()].filter((call) => call.ours === null && this.calls.has(call.ticket));
    this.queue.unshift(...again);
    this.sent.clear();
    this.refreshAt = null;
    this.refreshing = false;
    this.pingedAt = null;
    for (const channel of this.channels.values()) {
      channel.lostConnection();
      channel.retryAt = null;
    }
  }

  /** @param {number} now @param {object} facts */
  wait(now, facts) {
    const afterMs = this.advisedMs ?? pause(this.tries, this.random());
    this.tries += 1;
    this.retryAt = now + afterMs;
    this.become("waiting", { after_ms: afterMs, ...facts });
  }

  /** @param {number} code @param {string} reason @param {boolean} close */
  end(code, reason, close) {
    if (this.state === "stopped") return;
    if (close) this.out.push({ close: 1000 });
    this.drop();
    this.retryAt = this.advisedMs = null;
    for (const call of [...this.calls.values()]) {
      this.finish(call);
      this.reject(call.ticket, { code: "stopped", message: "the client is not connected" });
    }
    this.become("stopped", { code, reason });
  }

  /** @param {Call} call */
  finish(call) {
    this.calls.delete(call.ticket);
    const at = this.queue.indexOf(call);
    if (at >= 0) this.queue.splice(at, 1);
  }

  /** @param {number} ticket @param {Refusal} error */
  reject(ticket, error) {
    this.out.push({ reject: ticket, error });
  }
}

/** @param {string} text @returns {number} in UTF-8 */
const bytes = (text) => new TextEncoder().encode(text).length;

/** Arrays of commands, none longer than FRAME unless it is one command alone. @param {any[]} commands @returns {string[]} */
function frames(commands) {
  /** @type {string[][]} */
  const parts = [];
  let size = Infinity;
  for (const command of commands) {
    const text = JSON.stringify(command);
    const length = bytes(text) + 1;
    if (size + length > FRAME) {
      parts.push([]);
      size = 0;
    }
    parts[parts.length - 1].push(text);
    size += length;
  }
  return parts.map((part) => `[${part.join()}]`);
}

/** The server's answer to a call is an error, or none came in time (`deadline`), or it is too long to be sent (`too_large`). */
export class Refused extends Error {
  /** @param {Refusal} error */
  constructor(error) {
    super(error.message || error.code);
    this.name = "Refused";
    this.code = error.code;
    /** @type {number|null} when to try again */
    this.retryMs = error.retry_ms ?? null;
  }
}

/**
 * A channel that is followed. Events, each with `detail`: `publication` (Publication), `joined` {offset, epoch, recovered, again}, `gap`
 * {from, to, epoch, recovered}: what was missed, `join` and `leave` {user, client}, `left` {code, reason}: the server has ended it.
 */
export class Subscription extends EventTarget {
  /** @param {Realtime} realtime @param {string} channel */
  constructor(realtime, channel) {
    super();
    this.realtime = realtime;
    this.channel = channel;
  }

  /** @param {any} data @param {{conflateKey?: string, idempotencyKey?: string, timeoutMs?: number}} [options] */
  publish = (data, options) => this.realtime.publish(this.channel, data, options);

  /** @param {{since?: Place, limit?: number, timeoutMs?: number}} [options] */
  history = (options) => this.realtime.history(this.channel, options);

  presence = () => this.realtime.presence(this.channel);

  /** Nothing, when the channel is followed anew by somebody else. */
  unsubscribe = () => {
    if (this.realtime.subscriptions.get(this.channel) === this) this.realtime.unsubscribe(this.channel);
  };
}

/**
 * One connection, again and again if need be. The event `state` has `detail` {state, after_ms?, code?, reason?, client?, user?}; `waiting` comes
 * back by itself, `stopped` does not (codes of 4300 and above, or no token).
 */
export class Realtime extends EventTarget {
  /**
   * @param {string|URL} url of `/v1/ws`; relative to the page, when it is this page's own server
   * @param {{token?: () => Promise<string|null>, name?: string, start?: boolean}} [options] token: gets a bearer token, a new one each time;
   *   without it the session's cookie counts, or nobody is known. name: of a guest
   */
  constructor(url, { token, name, start = true } = {}) {
    super();
    const absolute = new URL(url, location.href);
    absolute.protocol = absolute.protocol.replace("http", "ws");
    this.url = absolute.href;
    this.getToken = token ?? null;
    this.machine = new Machine({
      random: Math.random,
      key: () => crypto.getRandomValues(new Uint32Array(4)).join("-"),
      hasToken: token !== undefined,
      name: name ?? null,
    });
    /** @type {Map<string, Subscription>} */
    this.subscriptions = new Map();
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.promises = new Map();
    /** @type {WebSocket|null} */
    this.socket = null;
    this.timer = 0;
    /** @type {Effect[]} still to be done */
    this.effects = [];
    this.acting = false;
    this.looked = () => {
      if (!document.hidden) this.do((now) => this.machine.wake(now));
    };
    if (start) this.start();
  }

  /** @returns {State} */
  get state() {
    return this.machine.state;
  }

  start() {
    addEventListener("online", this.looked);
    document.addEventListener("visibilitychange", this.looked);
    this.do((now) => this.machine.start(now));
  }

  /** Close, and do not come back. */
  stop() {
    removeEventListener("online", this.looked);
    document.removeEventListener("visibilitychange", this.looked);
    this.do((now) => this.machine.stop(now));
  }

  /** @param {string} channel @param {{since?: Place}} [options] since: the last publication that is known @returns {Subscription} */
  subscribe(channel, { since } = {}) {
    const known = this.subscriptions.get(channel);
    if (known) return known;
    const made = new Subscription(this, channel);
    this.subscriptions.set(channel, made);
    // In a moment: whoever subscribes adds its listeners first.
    queueMicrotask(() => {
      if (this.subscriptions.get(channel) === made)
        this.do((now) => this.machine.subscribe(channel, now, since ? [since.offset, since.epoch] : null));
    });
    return made;
  }

  /** @param {string} channel */
  unsubscribe(channel) {
    if (this.subscriptions.delete(channel)) this.do((now) => this.machine.unsubscribe(channel, now));
  }

  /**
   * Sent again over a new connection until it is acknowledged; happens once.
   *
   * @param {string} channel @param {any} data as it is now; what becomes of it later changes nothing
   * @param {{conflateKey?: string, idempotencyKey?: string, timeoutMs?: number}} [options]
   * @returns {Promise<{offset: number, epoch: string, durable: boolean}>} rejects with Refused, or a TypeError: it is no JSON
   */
  publish(channel, data, { conflateKey, idempotencyKey, timeoutMs } = {}) {
    const body = {
      channel,
      data,
      ...(conflateKey !== undefined && { conflate_key: conflateKey }),
      ...(idempotencyKey !== undefined && { idempotency_key: idempotencyKey }),
    };
    return this.ask("publish", body, timeoutMs);
  }

  /**
   * @param {string} channel @param {{since?: Place, limit?: number, timeoutMs?: number}} [options]
   * @returns {Promise<{publications: Publication[], offset: number, epoch: string, more: boolean}>} ascending; rejects with Refused
   */
  history(channel, { since, limit, timeoutMs } = {}) {
    return this.ask("history", { channel, ...(since && { since }), ...(limit && { limit }) }, timeoutMs);
  }

  /** @param {string} channel @returns {Promise<{count: number, members: {user: string, client: string, since: number}[], more: boolean}>} */
  presence(channel) {
    return this.ask("presence", { channel });
  }

  /** @param {string} kind @param {any} body @param {number} [timeoutMs] @returns {Promise<any>} */
  ask(kind, body, timeoutMs) {
    return new Promise((resolve, reject) => {
      const text = JSON.stringify(body); // now: what cannot be sent would fail whoever sends it later, and all that goes with it
      if (bytes(text) > COMMAND) throw new Refused({ code: "too_large", message: `a call has at most ${COMMAND} bytes` });
      this.do((now) => {
        this.promises.set(this.machine.call(kind, JSON.parse(text), now, timeoutMs), { resolve, reject });
      });
    });
  }

  /**
   * Tell the machine something, then do what it wants, in the order in which it wants it: what a listener asks for meanwhile comes behind
   * what is still to be done, or an `unsubscribe` would be sent before its `subscribe`.
   *
   * @param {(now: number) => void} tell
   */
  do(tell) {
    tell(Math.round(performance.now()));
    this.effects.push(...this.machine.effects());
    if (this.acting) return;
    this.acting = true;
    try {
      while (this.effects.length > 0) this.act(/** @type {Effect} */ (this.effects.shift()));
    } finally {
      this.acting = false;
      this.arm();
    }
  }

  /** The timer for the machine's next deadline. */
  arm() {
    clearTimeout(this.timer);
    const { deadline } = this.machine;
    if (deadline !== null)
      this.timer = setTimeout(() => this.do((now) => this.machine.tick(now)), Math.max(0, deadline - performance.now() + 1));
  }

  /** @param {Effect} effect */
  act(effect) {
    if (effect.send) for (const frame of frames(effect.send)) this.socket?.send(frame);
    else if (effect.open) this.connect();
    else if (effect.close) this.hangUp(effect.close);
    else if (effect.token) this.askToken();
    else if (effect.event === "state") this.dispatchEvent(new CustomEvent("state", { detail: effect }));
    else if (effect.event) {
      const subscription = this.subscriptions.get(effect.channel);
      if (effect.event === "left") this.subscriptions.delete(effect.channel);
      subscription?.dispatchEvent(new CustomEvent(effect.event, { detail: effect }));
    } else {
      const promise = this.promises.get(effect.resolve ?? effect.reject);
      this.promises.delete(effect.resolve ?? effect.reject);
      if (effect.error) promise?.reject(new Refused(effect.error));
      else promise?.resolve(effect.value);
    }
  }

  connect() {
    const socket = (this.socket = new WebSocket(this.url, "nova.json.v1"));
    const mine = (/** @type {(now: number) => void} */ tell) => {
      if (this.socket === socket) this.do(tell);
    };
    socket.onopen = () => mine((now) => this.machine.opened(now));
    socket.onmessage = ({ data }) => mine((now) => this.machine.received(JSON.parse(data), now));
    socket.onclose = ({ code, reason }) =>
      mine((now) => {
        this.socket = null;
        this.machine.closed(code, reason, now);
      });
  }

  /** @param {number} code */
  hangUp(code) {
    const socket = this.socket;
    this.socket = null;
    socket?.close(code);
  }

  async askToken() {
    let value = null;
    try {
      value = (await this.getToken?.()) ?? null;
    } catch {
      // None to be had now: it is asked for again with the next try.
    }
    this.do((now) => this.machine.token(value, now));
  }
}
