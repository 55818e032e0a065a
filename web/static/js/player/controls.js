/**
 * The bar under the picture: play, sound, the live edge, window and full screen; by pointer, finger and keyboard.
 */

import { fill, h, icon } from "../lib/dom.js";

/** The bar goes away when nobody moved for this long, in ms. */
const IDLE_MS = 2800;
/** The button says that we are at the edge while the picture is within this of the best we can do, in seconds. */
const AT_EDGE = 2.5;
/** Facts are drawn this often, in ms: often enough to trust, seldom enough to read. */
const DRAW_MS = 500;

export class Controls {
  /** @param {HTMLElement} box the `.player` @param {import("./player.js").Player} player */
  constructor(box, player) {
    this.box = box;
    this.player = player;
    const { video } = player;

    this.playButton = button("Pause", "pause", () => this.toggle());
    this.soundButton = button("Mute", "sound", () => this.sound());
    this.volume = h("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": "Volume",
      input: () => this.loud(Number(this.volume.value)),
    });
    this.latency = h("span", { class: "latency", "data-fact": "latency" });
    this.edge = h(
      "button",
      { type: "button", class: "edge", click: () => player.goLive() },
      h("span", {}, "Live"),
      this.latency,
    );
    this.quality = h("span", { class: "quality", "data-fact": "quality" });
    this.unmute = h(
      "button",
      { class: "button unmute", type: "button", hidden: true, click: () => this.sound() },
      icon("muted"),
      "Tap for sound",
    );
    const bar = h(
      "div",
      { class: "controls", role: "group", "aria-label": "Player" },
      this.playButton,
      this.soundButton,
      this.volume,
      this.edge,
      h(
        "div",
        { class: "right" },
        this.quality,
        document.pictureInPictureEnabled ? button("Picture in picture", "window", () => this.detach()) : null,
        button("Full screen", "full", () => this.full()),
      ),
    );
    box.append(this.unmute, bar);

    player.addEventListener("change", () => this.draw());
    video.addEventListener("volumechange", () => this.draw());
    video.addEventListener("click", () => this.toggle());
    box.addEventListener("keydown", (event) => this.#key(event));
    for (const kind of ["pointermove", "pointerdown", "focusin"]) box.addEventListener(kind, () => this.#awake());
    this.idle = 0;
    setInterval(() => this.draw(), DRAW_MS);
    this.#awake();
    this.draw();
  }

  toggle() {
    if (this.player.video.paused) this.player.resume();
    else this.player.pause();
  }

  sound() {
    const { video } = this.player;
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 0.6;
  }

  /** @param {number} volume 0…1 */
  loud(volume) {
    this.player.video.volume = volume;
    this.player.video.muted = volume === 0;
  }

  full() {
    const video = /** @type {HTMLVideoElement & {webkitEnterFullscreen?: () => void}} */ (this.player.video);
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.box.requestFullscreen) this.box.requestFullscreen().catch(() => {});
    else video.webkitEnterFullscreen?.(); // iPhones let only the video itself fill the screen.
  }

  detach() {
    if (document.pictureInPictureElement) document.exitPictureInPicture();
    else this.player.video.requestPictureInPicture().catch(() => {});
  }

  draw() {
    const { video, state } = this.player;
    const facts = this.player.facts();
    const silent = video.muted || video.volume === 0;
    dress(this.playButton, video.paused ? "Play" : "Pause", video.paused ? "play" : "pause");
    dress(this.soundButton, silent ? "Unmute" : "Mute", silent ? "muted" : "sound");
    this.volume.value = String(video.muted ? 0 : video.volume);
    this.unmute.hidden = !(video.muted && state === "playing");
    const atEdge = state === "playing" && facts.latency !== null && facts.latency < AT_EDGE;
    this.edge.dataset.atEdge = String(atEdge);
    this.edge.setAttribute("aria-label", atEdge ? "At the live edge" : "Go to the live edge");
    this.latency.textContent = facts.latency === null || state === "empty" ? "" : `${facts.latency.toFixed(1)} s`;
    this.quality.textContent = facts.height ? `${facts.height}p` : "";
  }

  #awake() {
    clearTimeout(this.idle);
    this.box.dataset.idle = "false";
    this.idle = setTimeout(() => {
      this.box.dataset.idle = String(!this.player.video.paused);
    }, IDLE_MS);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Space and Enter on a button are that button's.
    const onControl = event.target instanceof HTMLElement && event.target.closest("button, input") !== null;
    /** @type {Record<string, () => void>} */
    const keys = { k: () => this.toggle(), m: () => this.sound(), f: () => this.full(), l: () => this.player.goLive() };
    if (!onControl) keys[" "] = keys.k;
    const act = keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

/** @param {string} label @param {string} symbol @param {() => void} act @returns {HTMLButtonElement} */
function button(label, symbol, act) {
  const made = h("button", { type: "button", click: act });
  dress(made, label, symbol);
  return made;
}

/** @param {HTMLButtonElement} element @param {string} label @param {string} symbol */
function dress(element, label, symbol) {
  if (element.getAttribute("aria-label") === label) return;
  element.setAttribute("aria-label", label);
  element.title = label;
  fill(element, icon(symbol));
}
