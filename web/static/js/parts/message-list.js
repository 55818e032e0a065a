/**
 * A list that grows at its foot and stays there, unless somebody has scrolled up to read.
 */

import { h, put } from "../lib/dom.js";

/** This near to the foot counts as there, in px. */
const NEAR = 60;

export class MessageList {
  /** @param {string} label */
  constructor(label) {
    this.list = h("ol", { class: "messages", role: "log", "aria-live": "polite", "aria-label": label, tabindex: "0" });
    this.more = h("button", { class: "button messages-more", type: "button", hidden: true, click: () => this.toFoot() });
    this.box = h("div", { class: "messages-box" }, this.list, this.more);
    this.unseen = 0;
    this.list.addEventListener("scroll", () => {
      if (this.atFoot) this.#seen();
    });
    // The phone's keyboard and a turned screen change the height, not the place.
    let wasAtFoot = true;
    this.list.addEventListener("scroll", () => (wasAtFoot = this.atFoot), { passive: true });
    new ResizeObserver(() => {
      if (wasAtFoot) this.toFoot();
    }).observe(this.list);
  }

  get atFoot() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR;
  }

  /** @param {HTMLElement[]} items @param {number} most kept; older ones go */
  add(items, most) {
    const follow = this.atFoot;
    this.list.append(...items);
    while (this.list.childElementCount > most) this.list.firstElementChild?.remove();
    if (follow) this.toFoot();
    else {
      this.unseen += items.length;
      put(this.more, `${this.unseen} new ${this.unseen === 1 ? "message" : "messages"}`);
      this.more.hidden = false;
    }
  }

  toFoot() {
    this.list.scrollTop = this.list.scrollHeight;
    this.#seen();
  }

  #seen() {
    this.unseen = 0;
    this.more.hidden = true;
  }
}
