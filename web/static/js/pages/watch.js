/**
 * The watch page: one stream, its picture and its facts.
 *
 * @import * as streams from "../lib/streams.js"
 */

import { fill, h, icon, must, put } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { Controls } from "../player/controls.js";
import { Cover } from "../player/cover.js";
import { Seat } from "../player/seat.js";
import { wireAccount } from "../parts/account.js";
import { Chat } from "../parts/chat.js";
import { wireTheme } from "../parts/theme.js";

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const box = must(".player");
const title = must("#title");
const facts = {
  badge: h("span", { class: "badge" }),
  viewers: h("span", { "data-fact": "viewers" }),
  since: h("span"),
  visibility: h("span"),
};
must("#facts").append(facts.badge, h("span", {}, icon("viewers"), facts.viewers), facts.since, facts.visibility);

wireTheme();
const seat = new Seat(id, /** @type {HTMLVideoElement} */ (must("video")));
const known = wireAccount();
const cover = new Cover(box);
const chat = new Chat(id, must("#chat"));
known.finally(() => chat.open());
chat.addEventListener("viewers", (event) => {
  put(facts.viewers, format.viewers(/** @type {CustomEvent} */ (event).detail.count));
});
chat.addEventListener("status", () => seat.asking.now());
new Controls(box, seat.player);

cover.show(seat.cover);
seat.addEventListener("cover", () => {
  cover.show(seat.cover);
  box.dataset.state = seat.player.state;
});
seat.addEventListener("stream", draw);
seat.addEventListener("missing", async () => {
  // A private stream is missing for those who are not signed in: knowing who we are comes before saying so.
  await known;
  chat.leave();
  document.title = "Not found · Nova";
  fill(
    must("main"),
    h(
      "div",
      { class: "empty" },
      h("img", { src: "/static/img/star.svg", alt: "", width: 84, height: 84 }),
      h("h1", {}, "There is no such stream"),
      h(
        "p",
        { class: "soft" },
        "It was deleted, its address has a typing error, or it is private and you are not among its viewers.",
      ),
      h("a", { class: "button primary", href: "/" }, "See who is live"),
    ),
  );
});

function draw() {
  const stream = seat.stream;
  if (stream === null) return;
  const name = stream.title || "Untitled stream";
  document.title = `${name} · Nova`;
  put(title, name);
  put(facts.badge, format.status(stream.status));
  facts.badge.dataset.status = stream.status;
  put(facts.viewers, format.viewers(stream.viewers));
  put(facts.since, stream.started_at && stream.status !== "idle" ? lasted(stream.status, stream.started_at) : "");
  put(facts.visibility, { public: "", unlisted: "Unlisted", private: "Private" }[stream.visibility]);
  put(must("#description"), stream.description);
  const tags = must("#tags");
  if (tags.childElementCount !== stream.tags.length) fill(tags, ...stream.tags.map((tag) => h("li", {}, tag)));
}

/** @param {streams.StreamStatus} status @param {string} startedAt @returns {string} */
function lasted(status, startedAt) {
  const time = format.since(startedAt, Date.now());
  return status === "ended" ? `Started ${time} ago` : `Live for ${time}`;
}
