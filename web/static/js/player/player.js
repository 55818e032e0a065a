/**
 * Keeps one live stream playing: picks the backend, starts it again when it fails, and tells what there is to see.
 *
 * Events: `change` (state), `gone` (the server knows no such live stream: ask the API), `ended`.
 */

import { liveLatency } from "./latency.js";
import * as mse from "./mse.js";
import * as native from "./native.js";

/** @typedef {"empty"|"loading"|"playing"|"waiting"|"paused"|"finished"|"failed"} PlayerState */

/** The pause before a failed backend is built anew doubles from the first to the last value, in ms. */
const RESTART_MS = [500, 8000];

/** @returns {boolean} whether this browser can play at all */
export const supported = () => mse.supported() || native.supported();

export class Player extends EventTarget {
  /** @param {HTMLVideoElement} video */
  constructor(video) {
    super();
    this.video = video;
    /** @type {PlayerState} */
    this.state = "empty";
    this.stalls = 0;
    /** @type {import("./backend.js").Backend|null} */
    this.backend = null;
    /** @type {() => Promise<string>} */
    this.source = async () => "";
    this.failures = 0;
    this.restart = 0;
    this.generation = 0;
    // A stop that the person asked for is the only one that we respect; every other one is an interruption to overcome.
    this.wanted = true;

    video.addEventListener("playing", () => this.#become("playing"));
    video.addEventListener("waiting", () => {
      if (this.state !== "playing") return;
      this.stalls += 1;
      this.#become("waiting");
    });
    video.addEventListener("pause", () => {
      // The end of a stream pauses the element too, just before it says `ended`.
      if (!video.ended && (this.state === "playing" || this.state === "waiting")) this.#become("paused");
    });
  }

  /**
   * Plays what `source` names; asked again at every restart, so that it may bring a new session.
   *
   * @param {() => Promise<string>} source
   */
  load(source) {
    this.stop();
    this.source = source;
    this.wanted = true;
    this.#start();
  }

  /** Lets go of everything; the last picture stays on the screen. */
  stop() {
    this.generation += 1;
    clearTimeout(this.restart);
    this.backend?.destroy();
    this.backend = null;
    this.failures = 0;
    this.#become("empty");
  }

  pause() {
    this.wanted = false;
    this.video.pause();
  }

  /** Plays on, at the live edge: where a pause of minutes ended is no longer on the server. */
  async resume() {
    this.wanted = true;
    this.backend?.goLive();
    await this.#play();
  }

  goLive() {
    this.resume();
  }

  /** @returns {import("./backend.js").Facts & {latency: number|null, width: number, height: number, stalls: number}} */
  facts() {
    const facts = this.backend?.facts() ?? { byDate: null, byEdge: null };
    return {
      ...facts,
      latency: liveLatency(facts.byDate, facts.byEdge),
      width: this.video.videoWidth,
      height: this.video.videoHeight,
      stalls: this.stalls,
    };
  }

  async #start() {
    const mine = (this.generation += 1);
    this.#become("loading");
    this.backend?.destroy();
    this.backend = null;
    let url;
    try {
      url = await this.source();
    } catch {
      if (mine === this.generation) this.#failed(true);
      return;
    }
    if (mine !== this.generation) return;
    let shown = false;
    const Backend = mse.supported() ? mse.MseBackend : native.NativeBackend;
    this.backend = new Backend(this.video, url, {
      ready: () => {
        this.failures = 0;
        if (shown || mine !== this.generation) return;
        shown = true;
        if (this.wanted) this.#play();
      },
      ended: () => {
        if (mine !== this.generation) return;
        this.#become("finished");
        this.dispatchEvent(new Event("ended"));
      },
      failed: (gone) => mine === this.generation && this.#failed(gone),
    });
  }

  /** Sound first; a browser that allows only silent autoplay gets silence, and the page offers the sound. */
  async #play() {
    try {
      await this.video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || this.video.muted) return;
      this.video.muted = true;
      await this.video.play().catch(() => this.#become("paused"));
    }
  }

  /** @param {boolean} gone */
  #failed(gone) {
    this.#become("failed");
    this.backend?.destroy();
    this.backend = null;
    if (gone) {
      this.dispatchEvent(new Event("gone"));
      return;
    }
    const wait = Math.min(RESTART_MS[0] * 2 ** this.failures, RESTART_MS[1]);
    this.failures += 1;
    this.restart = setTimeout(() => this.#start(), wait * (0.8 + 0.4 * Math.random()));
  }

  /** @param {PlayerState} state */
  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}
