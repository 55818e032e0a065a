/**
 * A room to try: `/room` is the channel public:lobby, `/room/NAME` is public:NAME.
 *
 * Messages are {name, text, client}; the server checks none of it on public channels, so nothing here is more than what somebody typed.
 */

import { refusal } from "../lib/chat-log.js";
import { fill, h, must, put } from "../lib/dom.js";
import * as format from "../lib/format.js";
import * as session from "../lib/session.js";
import { wireAccount } from "../parts/account.js";
import { composer } from "../parts/composer.js";
import { copyField } from "../parts/copy-field.js";
import { MessageList } from "../parts/message-list.js";
import { wireTheme } from "../parts/theme.js";
import { Realtime } from "../lib/realtime.js";

const KEPT = 300;
const NAME_MOST = 40;
const TEXT_MOST = 500;
const NAME_KEY = "nova.room.name";
/** Members are asked for when somebody came or left, but not more often than this, in ms. */
const MEMBERS_MS = 1000;
const STANDING = { connected: "Connected", waiting: "Reconnecting", stopped: "Not connected" };

const room = /^[A-Za-z0-9._~-]{1,128}$/.exec(decodeURIComponent(location.pathname.split("/")[2] ?? ""))?.[0] ?? "lobby";
const messages = new MessageList("Messages");
const standing = must("#standing");
const facts = { offset: h("dd"), epoch: h("dd"), client: h("dd"), trip: h("dd", {}, "–") };

wireTheme();
const known = wireAccount();
document.title = `${room} · Nova`;
put(must("#title"), `public:${room}`);
must(".chat").insertBefore(messages.box, must("#foot"));
must("#address").append(copyField("Address", location.origin + location.pathname));
fill(
  must("#facts"),
  ...[
    ["Last offset", facts.offset],
    ["Epoch", facts.epoch],
    ["You are", facts.client],
    ["Acknowledged in", facts.trip],
  ].flatMap(([term, detail]) => [h("dt", {}, term), detail]),
);

const name = h("input", {
  class: "input",
  maxlength: NAME_MOST,
  autocomplete: "nickname",
  "aria-label": "Your name",
  placeholder: "Your name",
  value: stored() ?? `Guest ${100 + Math.floor(Math.random() * 900)}`,
  change: () => {
    try {
      localStorage.setItem(NAME_KEY, name.value.trim());
    } catch {
      // A browser that keeps nothing forgets the name, too.
    }
  },
});
const written = composer({ label: "Message", placeholder: `Write to ${room}`, most: TEXT_MOST, send: publish, refusal });
fill(must("#foot"), h("label", { class: "room-name" }, h("span", {}, "You are"), name), written.form);

const realtime = new Realtime("/v1/ws", { start: false });
const channel = realtime.subscribe(`public:${room}`);
/** @type {Map<string, HTMLElement>} what we wrote and have not read yet, by its mark */
const pending = new Map();
/** @type {Map<string, string>} the name that a client wrote under, as it said; members have none of their own */
const names = new Map();
let own = "";
let membersTimer = 0;

realtime.addEventListener("state", (event) => {
  const { state, client } = /** @type {CustomEvent} */ (event).detail;
  standing.dataset.state = state;
  put(standing, STANDING[/** @type {keyof typeof STANDING} */ (state)] ?? "Connecting");
  own = client ?? "";
  if (state === "connected") put(facts.client, client ?? session.current()?.user ?? "known by your session");
});
channel.addEventListener("joined", (event) => {
  const { epoch, offset, recovered, again } = /** @type {CustomEvent} */ (event).detail;
  put(facts.epoch, epoch);
  put(facts.offset, String(offset));
  if (again && recovered) note("Back again: nothing was missed.");
  members();
  if (!again) before();
});
channel.addEventListener("publication", (event) => {
  const { data, at, offset } = /** @type {CustomEvent} */ (event).detail;
  put(facts.offset, String(offset));
  show(data, at);
});
channel.addEventListener("gap", (event) => {
  const { from, to, recovered } = /** @type {CustomEvent} */ (event).detail;
  if (recovered < to - from + 1) note(to === 0 ? "The room has begun anew." : "Some messages were missed.");
});
channel.addEventListener("join", members);
channel.addEventListener("leave", members);
channel.addEventListener("left", () => note("This room is not open to you."));
known.finally(() => {
  realtime.start();
  session.changes.addEventListener("change", () => {
    realtime.stop();
    realtime.start();
  });
});

/** What was said before we came. */
async function before() {
  try {
    const { publications } = await channel.history({ limit: 50 });
    const lines = publications.filter(({ data }) => readable(data)).map(({ data, at }) => line(data, at));
    messages.list.prepend(...lines);
    messages.toFoot();
  } catch {
    // A room without a past.
  }
}

/** @param {string} text */
async function publish(text) {
  const mark = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const data = { name: name.value.trim() || "Somebody", text, mark, client: own };
  const mine = line(data, Date.now());
  mine.dataset.state = "sending";
  pending.set(mark, mine);
  messages.add([mine], KEPT);
  messages.toFoot();
  const began = performance.now();
  try {
    await channel.publish(data, { idempotencyKey: mark });
    put(facts.trip, `${(performance.now() - began).toFixed(1)} ms`);
  } catch (error) {
    mine.dataset.state = "failed";
    pending.delete(mark);
    throw error;
  }
}

/** @param {any} data @param {number} at */
function show(data, at) {
  if (!readable(data)) return;
  if (typeof data.client === "string" && typeof data.name === "string" && names.get(data.client) !== data.name) {
    names.delete(data.client);
    names.set(data.client, data.name.slice(0, NAME_MOST));
    if (names.size > KEPT) names.delete(/** @type {string} */ (names.keys().next().value));
    members();
  }
  const mine = pending.get(data.mark);
  if (mine !== undefined) {
    pending.delete(data.mark);
    mine.dataset.state = "read";
  } else messages.add([line(data, at)], KEPT);
}

/** @param {any} data */
const readable = (data) => typeof data?.text === "string" && data.text.trim() !== "";

/** @param {any} data @param {number} at @returns {HTMLElement} */
function line(data, at) {
  const who = typeof data.name === "string" ? data.name.slice(0, NAME_MOST) : "Somebody";
  const label = h("span", { class: "message-name" }, who);
  label.style.setProperty("--hue", String(format.hue(who)));
  const when = new Date(at);
  const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return h(
    "li",
    { class: "message" },
    label,
    h("span", { class: "message-text" }, data.text.slice(0, TEXT_MOST)),
    h("time", { class: "message-time", datetime: when.toISOString() }, clock),
  );
}

/** @param {string} text */
const note = (text) => messages.add([h("li", { class: "message message-note" }, text)], KEPT);

function members() {
  if (membersTimer !== 0) return;
  membersTimer = setTimeout(async () => {
    membersTimer = 0;
    const list = must("#members");
    try {
      const { count, members: found } = await channel.presence();
      const shown = found.slice(0, 50).map(({ user, client }) => {
        const me = client === facts.client.textContent;
        return h("li", { "data-me": me }, me ? "you" : (names.get(client) ?? user ?? `guest ${String(client).slice(-4)}`));
      });
      fill(list, ...shown, count > shown.length ? h("li", {}, `and ${count - shown.length} more`) : null);
    } catch {
      fill(list, h("li", {}, "not told"));
    }
  }, MEMBERS_MS / 4);
}

/** @returns {string|null} */
function stored() {
  try {
    return localStorage.getItem(NAME_KEY);
  } catch {
    return null;
  }
}
