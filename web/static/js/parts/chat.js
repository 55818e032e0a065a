/**
 * The chat beside a stream: comments, reactions, who watches, and what moderators do.
 *
 * Events: `viewers` {count}, `status` {status}: the channel knows before the next question to the API would.
 *
 * @import { Comment } from "../lib/chat-log.js"
 */

import { ApiError, call } from "../lib/api.js";
import { ChatLog, KEPT, refusal, standing } from "../lib/chat-log.js";
import { fill, h, must, put } from "../lib/dom.js";
import * as format from "../lib/format.js";
import * as session from "../lib/session.js";
import { Realtime } from "../lib/realtime.js";
import { composer } from "./composer.js";
import { MessageList } from "./message-list.js";
import { toast } from "./toast.js";

const REACTIONS = ["❤️", "🔥", "👏", "😂", "😮"];
/** Reactions that float at once; a crowd's are all alike. */
const FLOATING = 24;
/** How long who is timed out may not write. */
const TIME_OUT_S = 600;
/** ms between two looks at the session after the server did not know it any more. */
const LOOK_AGAIN_MS = 30_000;

export class Chat extends EventTarget {
  /** @param {string} stream id @param {HTMLElement} place */
  constructor(stream, place) {
    super();
    this.stream = stream;
    this.place = place;
    /** Whether we moderate this chat: the server knows. */
    this.moderates = false;
    this.log = new ChatLog();
    this.messages = new MessageList("Chat");
    this.standing = h("p", { class: "chat-standing small", role: "status" });
    this.foot = h("div", { class: "chat-foot" });
    this.floor = h("div", { class: "chat-floor", "aria-hidden": "true" });
    this.mode = { enabled: true, slow_mode_s: 0, guests: true };
    this.wasConnected = false;
    this.lookedAt = -Infinity;
  }

  /** Show it, when this server has chats and we may see this one. */
  async open() {
    try {
      const { items } = await call("GET", `/v1/streams/${this.stream}/comments?limit=50`);
      this.#show(this.log.load(items));
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) return;
    }
    const head = h("div", { class: "chat-head" }, h("h2", {}, "Chat"), this.standing);
    fill(this.place, head, this.messages.box, this.floor, this.foot);
    this.place.hidden = false;
    this.messages.toFoot();
    this.#drawFoot();
    this.realtime = new Realtime("/v1/ws", { start: false });
    this.realtime.addEventListener("state", (event) => this.#state(/** @type {CustomEvent} */ (event).detail));
    const channel = (this.channel = this.realtime.subscribe(`stream:${this.stream}`));
    channel.addEventListener("joined", (event) => {
      this.log.joined(/** @type {CustomEvent} */ (event).detail.epoch);
      this.#learn();
    });
    channel.addEventListener("publication", (event) => this.#publication(/** @type {CustomEvent} */ (event).detail));
    channel.addEventListener("left", () => put(this.standing, "The chat is not open to you."));
    this.realtime.start();
    session.changes.addEventListener("change", () => {
      // The connection is who opened it: somebody else now needs another one.
      this.realtime?.stop();
      this.realtime?.start();
      this.#drawFoot();
      this.#redraw();
    });
  }

  /** Ask whether we moderate; with every connection, for it is who opened it. */
  async #learn() {
    const { moderator } = await call("GET", `/v1/streams/${this.stream}/chat`).catch(() => ({ moderator: this.moderates }));
    if (moderator === this.moderates) return;
    this.moderates = moderator;
    this.#redraw();
  }

  leave() {
    this.realtime?.stop();
    this.place.hidden = true;
  }

  /** @param {any} detail */
  #publication(detail) {
    const change = this.log.add(detail);
    if (change.comments) this.#show(change.comments);
    for (const id of change.removed ?? []) this.messages.list.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
    if (change.reaction) this.#float(change.reaction);
    if (change.viewers !== undefined)
      this.dispatchEvent(new CustomEvent("viewers", { detail: { count: change.viewers } }));
    if (change.status) this.dispatchEvent(new CustomEvent("status", { detail: { status: change.status } }));
    if (change.mode) {
      this.mode = change.mode;
      this.#drawFoot();
    }
  }

  /** @param {{state: string, code?: number}} detail */
  #state({ state, code = 0 }) {
    this.wasConnected ||= state === "connected";
    put(this.standing, standing(state, this.wasConnected));
    if (state !== "stopped" || code < 4200 || code > 4299) return;
    // The session ended while the page was open. The API says who we are now; nobody may watch and read, too.
    if (performance.now() - this.lookedAt < LOOK_AGAIN_MS) return;
    this.lookedAt = performance.now();
    session.load().catch(() => {});
  }

  /** @param {Comment[]} comments */
  #show(comments) {
    if (comments.length > 0) this.messages.add(comments.map((comment) => this.#line(comment)), KEPT);
  }

  #redraw() {
    const lines = this.log.comments.map((comment) => this.#line(comment));
    fill(this.messages.list, ...lines);
    this.messages.toFoot();
  }

  /** @param {Comment} comment @returns {HTMLElement} */
  #line(comment) {
    const me = session.current();
    const mine = me !== null && me.user === comment.user;
    const name = h("span", { class: "message-name" }, comment.name || comment.user);
    name.style.setProperty("--hue", String(format.hue(comment.user)));
    return h(
      "li",
      { class: "message", "data-id": comment.id, "data-mine": mine },
      name,
      ...comment.badges.map((badge) => h("span", { class: "message-badge", "data-badge": badge }, badge)),
      h("span", { class: "message-text" }, comment.text),
      mine || this.moderates
        ? h(
            "span",
            { class: "message-acts" },
            act("Delete", () => this.#delete(comment)),
            this.moderates && !mine ? act("Time out", () => this.#ban(comment, TIME_OUT_S)) : null,
            this.moderates && !mine ? act("Ban", () => this.#ban(comment, null)) : null,
          )
        : null,
    );
  }

  /** @param {Comment} comment */
  async #delete(comment) {
    await this.#moderate(() => call("DELETE", `/v1/streams/${this.stream}/comments/${encodeURIComponent(comment.id)}`));
  }

  /** @param {Comment} comment @param {number|null} seconds null: until it is taken back */
  async #ban(comment, seconds) {
    const path = `/v1/streams/${this.stream}/bans/${encodeURIComponent(comment.user)}`;
    await this.#moderate(() => call("PUT", path, { body: { seconds } }));
  }

  /** @param {() => Promise<any>} what */
  async #moderate(what) {
    try {
      await what();
    } catch (error) {
      toast(error instanceof Error ? error.message : "It did not work.", "bad");
    }
  }

  #drawFoot() {
    if (!session.may("chat")) {
      const enter = () => must("#sign-in").click();
      fill(this.foot, h("button", { class: "button primary chat-enter", type: "button", click: enter }, "Sign in to chat"));
      return;
    }
    const written = composer({
      label: "Your message",
      placeholder: this.mode.slow_mode_s > 0 ? `Slow mode: one message in ${this.mode.slow_mode_s} s` : "Say something nice",
      most: 500,
      send: async (text) => {
        await this.channel?.publish({ text });
        this.messages.toFoot();
      },
      refusal,
    });
    const reactions = REACTIONS.map((sign) =>
      h("button", { class: "reaction", type: "button", "aria-label": `React with ${sign}`, click: () => this.#react(sign, written.note) }, sign),
    );
    fill(this.foot, h("div", { class: "reactions" }, ...reactions), written.form);
  }

  /** @param {string} reaction @param {HTMLElement} note */
  async #react(reaction, note) {
    try {
      await this.channel?.publish({ reaction });
      put(note, "");
    } catch (error) {
      put(note, refusal(/** @type {any} */ (error)));
    }
  }

  /** @param {string} sign */
  #float(sign) {
    if (this.floor.childElementCount >= FLOATING) return;
    const bubble = h("span", { class: "float", animationend: () => bubble.remove() }, sign);
    bubble.style.setProperty("--left", `${10 + Math.random() * 80}%`);
    this.floor.append(bubble);
  }
}

/** @param {string} label @param {() => void} click */
const act = (label, click) => h("button", { class: "message-act", type: "button", click }, label);
