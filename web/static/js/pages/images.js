/**
 * Pictures: drop one, see its sizes, formats and timings.
 */

import { ApiError } from "../lib/api.js";
import { fill, h, must } from "../lib/dom.js";
import * as images from "../lib/images.js";
import * as session from "../lib/session.js";
import { dropZone } from "../parts/drop-zone.js";
import { pictureCard } from "../parts/picture-card.js";
import { linkForm } from "../parts/sign-in.js";
import { wireAccount } from "../parts/account.js";
import { wireTheme } from "../parts/theme.js";

const main = must("main");

wireTheme();
wireAccount().then(() => {
  session.changes.addEventListener("change", draw);
  draw();
});

function draw() {
  if (!session.may("media:write")) {
    main.dataset.view = "sign-in";
    const text = "Sending pictures takes an account. Whoever runs this server can give you a sign-in link.";
    fill(main, h("section", { class: "sheet stack sign-in" }, h("h1", {}, "Sign in to send pictures"), h("p", { class: "soft" }, text), linkForm()));
    return;
  }
  main.dataset.view = "send";
  const shown = h("div", { class: "stack", id: "pictures" });
  const zone = dropZone(async (file) => {
    try {
      const picture = await images.send(file, zone.progress);
      const made = picture.variants ?? [];
      const spent = made.reduce((sum, each) => sum + each.ms, 0);
      zone.say(`${made.length} results from one decode, in ${Math.round(spent)} ms of a processor. Drop another one.`);
      add(picture);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      zone.say(error.message);
    }
  });

  /** @param {images.Picture} picture */
  function add(picture) {
    const card = pictureCard(picture, () => card.remove());
    shown.prepend(card);
  }

  fill(main, zone.element, shown);
  images.list().then(({ items }) => items.slice(0, 3).reverse().forEach(add), () => {});
}
