/**
 * One stream in the list.
 */

import { local } from "../lib/api.js";
import { h, icon, put } from "../lib/dom.js";
import * as format from "../lib/format.js";

/** A new picture is asked for at most this often, in ms. */
const SHOT_EVERY_MS = 20_000;

export class StreamCard {
  /** @param {string} id */
  constructor(id) {
    this.title = h("a", { href: `/watch/${encodeURIComponent(id)}` });
    this.meta = h("p", { class: "meta" });
    this.badge = h("span", { class: "badge" });
    this.count = h("span");
    this.viewers = h("span", { class: "viewers" }, icon("viewers"), this.count);
    this.shotAt = -Infinity;
    this.thumb = h(
      "div",
      { class: "thumb" },
      h("img", { class: "glyph", src: "/static/img/star.svg", alt: "" }),
      this.badge,
      this.viewers,
    );
    this.thumb.style.setProperty("--hue", String(format.hue(id)));
    this.element = h("li", { class: "card", "data-stream": id }, this.thumb, h("h2", {}, this.title), this.meta);
  }

  /** @param {import("../lib/streams.js").Stream} stream @param {number} nowMs */
  update(stream, nowMs) {
    put(this.title, stream.title || "Untitled stream");
    put(this.badge, format.status(stream.status));
    this.badge.dataset.status = stream.status;
    put(this.count, format.compact(stream.viewers));
    this.viewers.setAttribute("aria-label", format.viewers(stream.viewers));
    put(
      this.meta,
      [stream.started_at ? `live for ${format.since(stream.started_at, nowMs)}` : "", ...stream.tags.slice(0, 3)]
        .filter(Boolean)
        .join(" · "),
    );
    if (stream.thumb_url && stream.status === "live" && nowMs - this.shotAt > SHOT_EVERY_MS)
      this.#shoot(stream.thumb_url, nowMs);
  }

  /** Swaps the picture once the new one is there; without one the placeholder stays. @param {string} url @param {number} nowMs */
  #shoot(url, nowMs) {
    this.shotAt = nowMs;
    const shot = h("img", { class: "shot", alt: "", decoding: "async" });
    shot.addEventListener("load", () => {
      this.thumb.querySelector(".shot")?.remove();
      this.thumb.insertBefore(shot, this.badge);
    });
    shot.src = local(url);
  }
}
