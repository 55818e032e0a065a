/**
 * The streamer's page: make a stream, or open one of one's own by `?stream=`.
 */

import { fill, h, must } from "../lib/dom.js";
import * as session from "../lib/session.js";
import { wireAccount } from "../parts/account.js";
import { createForm } from "../parts/create-form.js";
import { ownStreams } from "../parts/own-streams.js";
import { linkForm } from "../parts/sign-in.js";
import { StreamDesk } from "../parts/stream-desk.js";
import { wireTheme } from "../parts/theme.js";

const main = must("main");

/** What is on the page now and must be let go of before the next thing comes. @type {{leave: () => void}|null} */
let open = null;

wireTheme();
wireAccount().then(() => {
  session.changes.addEventListener("change", draw);
  draw();
});
addEventListener("popstate", draw);

/** @param {string} id @param {import("../lib/streams.js").StreamKey|null} key */
function show(id, key) {
  history.pushState(null, "", `/go-live?stream=${encodeURIComponent(id)}`);
  desk(id, key);
}

/** @param {string} id @param {import("../lib/streams.js").StreamKey|null} key known only right after it was made */
function desk(id, key) {
  open?.leave();
  const made = new StreamDesk(id, key);
  open = made;
  main.dataset.view = "stream";
  fill(main, made.head, made.element, made.side);
}

function draw() {
  open?.leave();
  open = null;
  if (!session.may("stream:write")) {
    main.dataset.view = "sign-in";
    fill(main, signIn());
    return;
  }
  const id = new URLSearchParams(location.search).get("stream");
  if (id) {
    desk(id, null);
    return;
  }
  main.dataset.view = "list";
  const own = ownStreams();
  open = own;
  fill(
    main,
    h("h1", { class: "whole" }, "Go live"),
    createForm((made) => show(made.id, made)),
    own.element,
  );
}

/** @returns {HTMLElement} */
function signIn() {
  const guest = session.current() !== null;
  return h(
    "section",
    { class: "sheet stack sign-in" },
    h("h1", {}, "Sign in to go live"),
    h(
      "p",
      { class: "soft" },
      guest
        ? "As a guest you can watch. Going live takes a sign-in link of this server."
        : "Going live takes an account. Whoever runs this server can give you a sign-in link.",
    ),
    h(
      "ol",
      { class: "steps" },
      h("li", {}, "The server prints a sign-in link when it starts; open it."),
      h(
        "li",
        {},
        "Or run ",
        h("code", {}, "nova login"),
        " beside the server for a new one, and paste it here. It works once, for 15 minutes.",
      ),
    ),
    linkForm(),
  );
}
