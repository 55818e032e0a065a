/**
 * The right end of the header: sign in, or who is signed in. Also consumes a sign-in link, whichever page it opens.
 */

import { fill, h, icon, must } from "../lib/dom.js";
import * as session from "../lib/session.js";
import { signInDialog } from "./sign-in.js";
import { toast } from "./toast.js";

/** Wires the header and finds out who we are. @returns {Promise<void>} resolves when that is known */
export async function wireAccount() {
  const place = must("#account");
  const dialog = signInDialog();
  const draw = () =>
    fill(
      place,
      session.current()
        ? menu()
        : h(
            "button",
            { class: "button", type: "button", id: "sign-in", "aria-label": "Sign in", click: () => dialog.open() },
            icon("person"),
            h("span", { class: "wide" }, "Sign in"),
          ),
    );

  session.changes.addEventListener("change", draw);
  // A sign-in link pasted into a tab that already shows this page changes the hash only.
  addEventListener("hashchange", () => consume());
  if (!(await consume())) await session.load().catch(() => draw());

  /** @returns {Promise<boolean>} whether there was a code that worked */
  async function consume() {
    const code = session.takeCode();
    if (code === null) return false;
    try {
      await session.signIn(code);
      toast("You are signed in.");
      return true;
    } catch (error) {
      toast(session.refusal(error), "bad");
      return false;
    }
  }
}

/** @returns {HTMLElement} */
function menu() {
  const who = /** @type {session.Session} */ (session.current());
  const leave = async () => {
    try {
      await session.signOut();
      toast("You are signed out.");
    } catch {
      toast("Signing out failed. Try again.", "bad");
    }
  };
  const box = h(
    "details",
    { class: "account" },
    h(
      "summary",
      { class: "button", id: "account-menu" },
      icon("person"),
      h("span", { class: "wide" }, who.name ?? shorten(who.user)),
      h("span", { class: "visually-hidden" }, "Account"),
    ),
    h(
      "div",
      { class: "account-menu stack" },
      h("div", {}, h("p", { class: "small soft" }, "Signed in as"), h("p", { class: "name" }, who.name ?? who.user)),
      session.may("stream:write")
        ? null
        : h("p", { class: "small soft" }, "Guests can watch and chat. Going live takes a sign-in link."),
      h("button", { class: "button", type: "button", id: "sign-out", click: leave }, "Sign out"),
    ),
  );
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") box.open = false;
  });
  document.addEventListener("click", (event) => {
    if (!box.contains(/** @type {Node} */ (event.target))) box.open = false;
  });
  return box;
}

/** User ids of Nova are UUIDs; eight letters tell them apart well enough for a button. @param {string} user @returns {string} */
const shorten = (user) => (user.length > 18 ? `${user.slice(0, 8)}…` : user);
