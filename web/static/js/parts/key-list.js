/**
 * The keys of a stream: make another, remove one (which also drops whoever is using it).
 */

import { ApiError } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import * as streams from "../lib/streams.js";
import { toast } from "./toast.js";

export class KeyList {
  /** @param {string} id of the stream @param {(made: streams.StreamKey) => void} made */
  constructor(id, made) {
    this.id = id;
    this.made = made;
    this.list = h("ul", { class: "key-list", id: "keys" });
    this.element = h(
      "details",
      { class: "sheet" },
      h("summary", {}, h("b", {}, "Stream keys")),
      h(
        "div",
        { class: "stack" },
        h(
          "p",
          { class: "soft small" },
          "Each program or place can have its own key. Removing one drops whoever is streaming with it at that moment.",
        ),
        this.list,
        h("div", {}, h("button", { class: "button", type: "button", click: () => this.make() }, "Add a key")),
      ),
    );
    this.load();
  }

  async load() {
    try {
      const { items } = await streams.keys(this.id);
      fill(this.list, ...items.map((key) => this.#row(key)));
    } catch (error) {
      fill(
        this.list,
        h("li", { class: "soft" }, error instanceof ApiError ? error.message : "The keys cannot be loaded."),
      );
    }
  }

  async make() {
    try {
      this.made(await streams.newKey(this.id));
      await this.load();
    } catch (error) {
      toast(error instanceof ApiError ? error.message : "No key could be made.", "bad");
    }
  }

  /** @param {streams.KeyFact} key @returns {HTMLElement} */
  #row(key) {
    const remove = async () => {
      if (!confirm("Remove this key? Whoever streams with it is dropped at once.")) return;
      try {
        await streams.removeKey(this.id, key.key_id);
        toast("The key was removed.");
        await this.load();
      } catch (error) {
        toast(error instanceof ApiError ? error.message : "The key could not be removed.", "bad");
      }
    };
    return h(
      "li",
      {},
      h(
        "span",
        {},
        h("code", {}, key.hint ? `${key.hint}…` : key.key_id.slice(-8)),
        " ",
        h("span", { class: "soft small" }, `made ${format.since(key.created_at, Date.now())} ago`),
      ),
      h("button", { class: "button danger", type: "button", click: remove }, "Remove"),
    );
  }
}
