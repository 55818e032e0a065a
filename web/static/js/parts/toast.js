/**
 * Short messages at the foot of the page, read out by screen readers.
 */

import { h } from "../lib/dom.js";

const STAYS_MS = 6000;

/** The region must be in the page before the first message, or screen readers do not announce that one. */
const region = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
document.body.append(region);

/** @param {string} text @param {"plain"|"bad"} [kind] */
export function toast(text, kind = "plain") {
  const message = h("div", { class: "toast", "data-kind": kind }, text);
  region.append(message);
  setTimeout(() => message.remove(), STAYS_MS);
}
