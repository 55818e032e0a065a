/**
 * One viewer's place at one stream: follows the stream's state and keeps the player on it. The watch page and the preview both sit here.
 *
 * Events: `stream` (a fresh Stream is in `stream`), `missing` (there is no such stream, or not for us), `cover` (what to lay over the picture).
 */

import { ApiError, local } from "../lib/api.js";
import { poll } from "../lib/poll.js";
import * as streams from "../lib/streams.js";
import { coverFor } from "./cover.js";
import { Player, supported } from "./player.js";

/** The state is asked for this often, in ms; more often while something is about to change. */
const STEADY_MS = 5000;
const EAGER_MS = 1500;

export class Seat extends EventTarget {
  /** @param {string} id @param {HTMLVideoElement} video */
  constructor(id, video) {
    super();
    this.id = id;
    /** @type {streams.Stream|null} */
    this.stream = null;
    this.player = new Player(video);
    this.player.addEventListener("change", () => this.dispatchEvent(new Event("cover")));
    // The player noticed before our next question would have: ask now.
    this.player.addEventListener("gone", () => this.#soon());
    this.player.addEventListener("ended", () => this.#soon());
    this.lookout = 0;
    /** @type {string|null} */
    this.session = null;
    // Viewers who leave are no longer counted at once, and not only after the server missed them for a while.
    this.gone = () => this.#giveUp();
    addEventListener("pagehide", this.gone);
    this.asking = poll(STEADY_MS, (signal) => this.#look(signal));
    this.#play();
  }

  /** @returns {import("./cover.js").CoverKind} */
  get cover() {
    return supported() ? coverFor(this.stream?.status ?? null, this.player.state) : "unsupported";
  }

  leave() {
    clearTimeout(this.lookout);
    this.asking.stop();
    this.player.stop();
    removeEventListener("pagehide", this.gone);
    this.#giveUp();
  }

  #giveUp() {
    if (this.session !== null) streams.leave(this.id, this.session).catch(() => {});
    this.session = null;
  }

  #play() {
    if (!supported()) return;
    this.player.load(async () => {
      const place = await streams.join(this.id);
      this.session = place.session;
      return local(place.hls_url);
    });
  }

  #soon() {
    clearTimeout(this.lookout);
    this.lookout = setTimeout(() => this.asking.now(), EAGER_MS);
  }

  /** @param {AbortSignal} signal */
  async #look(signal) {
    let stream;
    try {
      stream = await streams.get(this.id, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || ![400, 404].includes(error.status)) throw error;
      this.leave();
      this.dispatchEvent(new Event("missing"));
      return;
    }
    this.stream = stream;
    const { state } = this.player;
    if (stream.status === "live" && (state === "empty" || state === "failed" || state === "finished")) this.#play();
    if (stream.status === "idle" && state !== "empty") this.player.stop();
    if (stream.status !== "live" || state === "failed") this.#soon();
    this.dispatchEvent(new Event("stream"));
    this.dispatchEvent(new Event("cover"));
  }
}
