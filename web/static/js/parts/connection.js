/**
 * Where to send a stream, and with which key.
 */

import { h } from "../lib/dom.js";
import { copyField } from "./copy-field.js";
import { instructions } from "./instructions.js";

/**
 * @param {import("../lib/streams.js").StreamKey|null} key known only right after it was made
 * @param {() => void} renew makes a new one
 * @returns {HTMLElement[]}
 */
export function connection(key, renew) {
  if (key === null) return [noKey(renew), instructions(`rtmp://${location.hostname}:1935/live/YOUR-KEY`)];
  if (key.rtmp_server === null || key.rtmp_url === null) return [noServer(key.key)];
  return [shown(key.rtmp_server, key.key, key.rtmp_url), instructions(key.rtmp_url)];
}

/** @param {string} server @param {string} key @param {string} url @returns {HTMLElement} */
function shown(server, key, url) {
  return h(
    "section",
    { class: "sheet stack", id: "connection" },
    h(
      "div",
      {},
      h("h2", {}, "Connection"),
      soft("The key is shown this once; the server keeps only its hash. Whoever has it can stream as you."),
    ),
    copyField("Server", server),
    copyField("Stream key", key, { secret: true }),
    copyField("Full URL", url, { secret: true, hint: "For programs that want one address." }),
  );
}

/** @param {() => void} renew @returns {HTMLElement} */
function noKey(renew) {
  return h(
    "section",
    { class: "sheet stack" },
    h("h2", {}, "Connection"),
    soft(
      "A key is shown once, when it is made. If you no longer have it, make a new one; the old one keeps working until you remove it.",
    ),
    h(
      "div",
      {},
      h("button", { class: "button primary", type: "button", id: "new-key", click: renew }, "New stream key"),
    ),
  );
}

/** @param {string} key @returns {HTMLElement} */
function noServer(key) {
  return h(
    "section",
    { class: "sheet stack", id: "connection" },
    h("h2", {}, "Connection"),
    h(
      "p",
      { class: "notice", "data-kind": "warn" },
      "This server takes no RTMP. Whoever runs it can turn it on with the setting rtmp.listen.",
    ),
    copyField("Stream key", key, { secret: true }),
  );
}

/** @param {string} text @returns {HTMLElement} */
const soft = (text) => h("p", { class: "soft small" }, text);
