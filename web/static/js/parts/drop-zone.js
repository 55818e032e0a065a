/**
 * A place to drop a file on, or to choose one: the same for mouse, keyboard and touch.
 */

import { h, put } from "../lib/dom.js";

/**
 * @param {(file: File) => Promise<void>} take resolves when the file was dealt with
 * @returns {{element: HTMLElement, progress: (part: number) => void, say: (text: string) => void}}
 */
export function dropZone(take) {
  const input = h("input", { type: "file", id: "file", accept: "image/*" });
  const bar = h("progress", { max: "1", value: "0", "aria-label": "Upload" });
  const note = h("p", { class: "soft", role: "status" }, "JPEG, PNG, WebP, AVIF, GIF or TIFF. Where it was taken is not kept in any result.");
  const element = h(
    "section",
    { class: "drop", "data-over": "false" },
    h("h1", {}, "Drop a picture"),
    h("label", { class: "button primary", for: "file" }, "Choose a picture"),
    input,
    bar,
    note,
  );
  bar.hidden = true;
  let busy = false;

  /** @param {File|undefined|null} file */
  async function begin(file) {
    if (!file || busy) return;
    busy = true;
    bar.hidden = false;
    bar.value = 0;
    put(note, `Sending ${file.name} …`);
    try {
      await take(file);
    } finally {
      busy = false;
      bar.hidden = true;
      input.value = "";
    }
  }

  input.addEventListener("change", () => begin(input.files?.[0]));
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.dataset.over = "true";
  });
  element.addEventListener("dragleave", () => {
    element.dataset.over = "false";
  });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.dataset.over = "false";
    begin(event.dataTransfer?.files[0]);
  });
  return {
    element,
    progress: (part) => {
      bar.value = part;
      if (part >= 1) put(note, "Making its sizes …");
    },
    say: (text) => put(note, text),
  };
}
