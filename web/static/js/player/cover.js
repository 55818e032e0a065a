/**
 * What lies over the picture when there is none to see, and why.
 */

import { fill, h } from "../lib/dom.js";

/** @typedef {"connecting"|"buffering"|"offline"|"reconnecting"|"ended"|"trouble"|"unsupported"|"none"} CoverKind */

/** @type {Record<Exclude<CoverKind, "none">, {busy?: boolean, title: string, text?: string}>} */
const COVERS = {
  connecting: { busy: true, title: "Connecting …" },
  buffering: { busy: true, title: "" },
  offline: { title: "Not live yet", text: "The picture starts here by itself as soon as the stream does." },
  reconnecting: { busy: true, title: "The streamer's connection dropped", text: "Waiting for it to come back …" },
  ended: { title: "This stream has ended", text: "Thank you for watching." },
  trouble: { busy: true, title: "The picture does not arrive", text: "Trying again …" },
  unsupported: {
    title: "This browser cannot play the stream",
    text: "It has neither Media Source Extensions nor HLS. A current Firefox, Chrome, Edge or Safari has.",
  },
};

/**
 * Which cover fits. Pure.
 *
 * @param {import("../lib/streams.js").StreamStatus|null} status as the API says, null while unknown
 * @param {import("./player.js").PlayerState} player
 * @returns {CoverKind}
 */
export function coverFor(status, player) {
  // What is in the buffer is shown to its end, whatever became of the stream meanwhile.
  if (player === "playing" || player === "paused") return "none";
  if (status === "ended") return "ended";
  if (status === "reconnecting") return "reconnecting";
  if (status === "idle") return "offline";
  if (player === "failed") return "trouble";
  if (player === "waiting") return "buffering";
  return "connecting";
}

export class Cover {
  /** @param {HTMLElement} box the `.player` */
  constructor(box) {
    this.element = h("div", { class: "cover", role: "status" });
    /** @type {CoverKind} */
    this.kind = "none";
    this.element.hidden = true;
    box.append(this.element);
  }

  /** @param {CoverKind} kind */
  show(kind) {
    if (kind === this.kind) return;
    this.kind = kind;
    this.element.hidden = kind === "none";
    this.element.dataset.cover = kind;
    if (kind === "none") return;
    const { busy, title, text } = COVERS[kind];
    this.element.dataset.kind = busy && !text ? "busy" : "plain";
    fill(
      this.element,
      busy ? h("div", { class: "spinner", "aria-hidden": "true" }) : null,
      title ? h("strong", {}, title) : h("span", { class: "visually-hidden" }, "Loading"),
      text ? h("p", {}, text) : null,
    );
  }
}
