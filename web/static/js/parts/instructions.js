/**
 * How to send a stream here, for the two programs that most people use.
 */

import { h } from "../lib/dom.js";
import { copyButton } from "./copy-field.js";

/**
 * @param {string} url `rtmp://host:port/live/key`, or with a stand-in for a key that is no longer shown
 * @returns {HTMLElement}
 */
export function instructions(url) {
  const panels = [
    ["OBS", obs()],
    ["ffmpeg", ffmpeg(url)],
  ].map(([name, content], i) => ({
    tab: h(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${i}`,
        "aria-controls": `panel-${i}`,
        "aria-selected": String(i === 0),
        tabindex: i === 0 ? 0 : -1,
      },
      /** @type {string} */ (name),
    ),
    panel: h(
      "div",
      { role: "tabpanel", id: `panel-${i}`, "aria-labelledby": `tab-${i}`, hidden: i !== 0, class: "stack" },
      /** @type {HTMLElement} */ (content),
    ),
  }));
  const choose = (/** @type {number} */ chosen) =>
    panels.forEach(({ tab, panel }, i) => {
      tab.setAttribute("aria-selected", String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
      panel.hidden = i !== chosen;
    });
  panels.forEach(({ tab }, i) => {
    tab.addEventListener("click", () => choose(i));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      const next = (i + step + panels.length) % panels.length;
      choose(next);
      panels[next].tab.focus();
    });
  });
  return h(
    "section",
    { class: "sheet stack" },
    h("h2", {}, "Start sending"),
    h("div", { class: "tabs", role: "tablist", "aria-label": "Program" }, ...panels.map(({ tab }) => tab)),
    ...panels.map(({ panel }) => panel),
  );
}

/** @returns {HTMLElement} */
function obs() {
  return h(
    "ol",
    { class: "steps" },
    h(
      "li",
      {},
      "Settings → Stream: Service ",
      h("b", {}, "Custom…"),
      ", then paste the server and the stream key from above.",
    ),
    h(
      "li",
      {},
      "Settings → Output → Output mode ",
      h("b", {}, "Advanced"),
      ": encoder H.264 (x264 or your graphics card), rate control CBR, ",
      h("b", {}, "keyframe interval 2 s"),
      ", tune ",
      h("b", {}, "zerolatency"),
      ".",
    ),
    h("li", {}, "Audio: AAC, 48 kHz."),
    h("li", {}, "Start streaming. The preview here begins within a second or two."),
  );
}

/** @param {string} url @returns {HTMLElement} */
function ffmpeg(url) {
  return h(
    "div",
    { class: "stack" },
    h("p", { class: "soft" }, "A file, as if it were live:"),
    command(
      `ffmpeg -re -i video.mp4 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -b:v 3M -maxrate 3M -bufsize 3M -c:a aac -b:a 128k -ar 48000 -f flv "${url}"`,
    ),
    h("p", { class: "soft" }, "A test picture with a tone:"),
    command(
      `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -c:a aac -f flv "${url}"`,
    ),
  );
}

/** @param {string} text @returns {HTMLElement} */
function command(text) {
  return h(
    "div",
    { class: "stack" },
    h("div", { class: "command" }, h("pre", { tabindex: 0 }, text)),
    h(
      "div",
      {},
      copyButton(() => text, "Command"),
    ),
  );
}
