/**
 * The watch page: one stream, its picture and its facts.
 */

import { fill, h, icon, must } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { Controls } from "../player/controls.js";
import { Cover } from "../player/cover.js";
import { Seat } from "../player/seat.js";
import { wireAccount } from "../parts/account.js";
import { wireTheme } from "../parts/theme.js";

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const box = must(".player");
const title = must("#title");
const facts = must("#facts");

wireTheme();
const seat = new Seat(id, /** @type {HTMLVideoElement} */ (must("video")));
const known = wireAccount();
const cover = new Cover(box);
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
  title.textContent = name;
  const badge = h("span", { class: "badge", "data-status": stream.status }, format.status(stream.status));
  fill(
    facts,
    badge,
    h("span", { "data-fact": "viewers" }, icon("viewers"), format.viewers(stream.viewers)),
    stream.started_at && stream.status !== "idle"
      ? h(
          "span",
          {},
          `${stream.status === "ended" ? "Started" : "Live for"} ${format.since(stream.started_at, Date.now())}${stream.status === "ended" ? " ago" : ""}`,
        )
      : null,
    stream.visibility === "public" ? null : h("span", {}, stream.visibility === "private" ? "Private" : "Unlisted"),
  );
  must("#description").textContent = stream.description;
  fill(must("#tags"), ...stream.tags.map((tag) => h("li", {}, tag)));
}
