/**
 * One stream in the list.
 */

import { h, icon, put } from "../lib/dom.js";
import * as format from "../lib/format.js";

export class StreamCard {
  /** @param {string} id */
  constructor(id) {
    this.title = h("a", { href: `/watch/${encodeURIComponent(id)}` });
    this.meta = h("p", { class: "meta" });
    this.badge = h("span", { class: "badge" });
    this.count = h("span");
    this.viewers = h("span", { class: "viewers" }, icon("viewers"), this.count);
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
  }
}
