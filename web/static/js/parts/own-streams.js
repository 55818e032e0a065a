/**
 * The list of one's own streams.
 */

import { fill, h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { poll } from "../lib/poll.js";
import * as session from "../lib/session.js";
import * as streams from "../lib/streams.js";

const EVERY_MS = 6000;

/** @returns {{element: HTMLElement, leave: () => void}} */
export function ownStreams() {
  const list = h("ul", { class: "own-streams", id: "own-streams" });
  const note = h("p", { class: "soft" }, "Loading …");
  const asking = poll(
    EVERY_MS,
    async (signal) => {
      const { items } = await streams.list({ owner: session.current()?.user ?? "", limit: 50 }, signal);
      note.textContent = "Streams that you make stay here, with their keys.";
      note.hidden = items.length > 0;
      fill(list, ...items.map(row));
    },
    () => {
      note.hidden = false;
      note.textContent = "The list cannot be loaded now. Trying again …";
    },
  );
  return {
    element: h("section", { class: "sheet stack" }, h("h2", {}, "Your streams"), note, list),
    leave: asking.stop,
  };
}

/** @param {streams.Stream} stream @returns {HTMLElement} */
function row(stream) {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `/go-live?stream=${encodeURIComponent(stream.id)}` },
      h("span", { class: "title" }, stream.title || "Untitled stream"),
      h("span", { class: "badge", "data-status": stream.status }, format.status(stream.status)),
    ),
  );
}
