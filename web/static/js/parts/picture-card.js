/**
 * One picture: what it is, and each size in each format with its bytes and its time.
 */

import { local } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import * as images from "../lib/images.js";

const SIZES = ["thumb", "small", "medium", "large", "full"];

/**
 * @param {images.Picture} picture
 * @param {() => void} removed
 * @returns {HTMLElement}
 */
export function pictureCard(picture, removed) {
  const rows = SIZES.filter((name) => picture.urls[name]).map((name) => row(picture, name));
  const drop = h("button", { class: "button danger", type: "button" }, "Delete");
  drop.addEventListener("click", async () => {
    drop.disabled = true;
    await images.remove(picture.id).then(removed, () => {
      drop.disabled = false;
    });
  });
  return h(
    "article",
    { class: "sheet picture", "data-id": picture.id },
    h(
      "figure",
      {},
      h("img", { src: local(picture.urls.medium), width: picture.width, height: picture.height, alt: "The picture that was sent" }),
      h(
        "dl",
        {},
        ...facts(picture).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
      drop,
    ),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Size"), ...images.FORMATS.map(([, name]) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...rows),
      ),
    ),
  );
}

/** @param {images.Picture} picture @returns {[string, string][]} */
function facts(picture) {
  return [
    ["Size", `${picture.width} × ${picture.height}`],
    ["File", `${picture.format.toUpperCase()}, ${format.size(picture.size_bytes)}`],
    ["Frames", String(picture.frames)],
    ["Colour", picture.color],
    ["SHA-256", `${picture.digest.slice(0, 16)} …`],
  ];
}

/** @param {images.Picture} picture @param {string} preset @returns {HTMLElement} */
function row(picture, preset) {
  const cells = images.FORMATS.map(() => h("td", {}, "…"));
  images.FORMATS.reduce(async (before, [type], at) => {
    await before; // one after the other: what is measured is not the queue
    try {
      const found = await images.measure(picture.urls[preset], type);
      const note = found.type === type ? format.milliseconds(found.ms) : found.type.replace("image/", "");
      fill(cells[at], format.size(found.bytes), " ", h("small", {}, note));
      cells[at].dataset.bytes = String(found.bytes);
    } catch {
      fill(cells[at], "–");
    }
  }, Promise.resolve());
  const link = h("a", { href: local(picture.urls[preset]) }, preset);
  return h("tr", { "data-preset": preset }, h("th", { scope: "row" }, link), ...cells);
}
