/**
 * The live streams list: asks every few seconds, changes only the cards that changed.
 */

import { fill, h, must } from "../lib/dom.js";
import { poll } from "../lib/poll.js";
import * as streams from "../lib/streams.js";
import { wireAccount } from "../parts/account.js";
import { StreamCard } from "../parts/stream-card.js";
import { wireTheme } from "../parts/theme.js";

const EVERY_MS = 5000;
/** One step of "show more", and the most that one question may ask for. */
const STEP = 48;
const MOST = 192;
/** A pause in typing that means: search now. */
const TYPING_MS = 300;

const grid = must("#streams");
const note = must("#note");
const more = must("#more");
const search = /** @type {HTMLInputElement} */ (must("#search"));

/** @type {Map<string, StreamCard>} */
const cards = new Map();
let limit = STEP;

wireTheme();
wireAccount();
const asking = poll(EVERY_MS, refresh, () => show("offline"));

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(asking.now, TYPING_MS);
});
must("#search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  asking.now();
});
must("button", more).addEventListener("click", () => {
  limit = Math.min(limit + STEP, MOST);
  asking.now();
});

/** @param {AbortSignal} signal */
async function refresh(signal) {
  const page = await streams.list({ status: "live", q: search.value.trim(), limit }, signal);
  const nowMs = Date.now();
  const wanted = page.items.map((stream) => {
    const card = cards.get(stream.id) ?? new StreamCard(stream.id);
    cards.set(stream.id, card);
    card.update(stream, nowMs);
    return card.element;
  });
  for (const id of [...cards.keys()]) if (!page.items.some((stream) => stream.id === id)) cards.delete(id);
  // Moving elements that stand right already would lose the keyboard focus, so change the list only when it differs.
  if (wanted.length !== grid.children.length || wanted.some((element, i) => grid.children[i] !== element))
    fill(grid, ...wanted);
  grid.removeAttribute("aria-busy");
  more.hidden = page.cursor === null || limit >= MOST;
  show(wanted.length ? "list" : search.value.trim() ? "no-match" : "nobody");
}

/** @param {"list"|"nobody"|"no-match"|"offline"} state */
function show(state) {
  if (note.dataset.state === state) return;
  note.dataset.state = state;
  if (state === "list") fill(note);
  else if (state === "offline") {
    // Cards that are there stay: what was live a moment ago is a better guess than an empty page.
    if (cards.size === 0) fill(grid);
    fill(
      note,
      h("div", { class: "notice", "data-kind": "warn", role: "status" }, "The server does not answer. Trying again …"),
    );
  } else
    fill(
      note,
      h(
        "div",
        { class: "empty" },
        h("img", { src: "/static/img/star.svg", alt: "", width: 84, height: 84 }),
        h("h2", {}, state === "nobody" ? "Nobody is live right now" : "No live stream matches"),
        h(
          "p",
          { class: "soft" },
          state === "nobody"
            ? "Streams appear here by themselves, as soon as somebody goes live."
            : "Try another word, or clear the search.",
        ),
        state === "nobody"
          ? h("a", { class: "button primary", href: "/go-live" }, "Go live")
          : h("button", { class: "button", type: "button", click: clear }, "Clear the search"),
      ),
    );
}

function clear() {
  search.value = "";
  search.focus();
  asking.now();
}
