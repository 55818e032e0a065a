/**
 * Playing through hls.js and Media Source Extensions: everywhere but on iPhones.
 */

import Hls from "/vendor/hls.js/hls.light.min.mjs";
import { catchUp, starving, superfluous } from "./latency.js";
import { TUNING } from "./tuning.js";

/** How often the catch-up looks, in ms. */
const GOVERN_MS = 500;
/** More decode errors than this within the window mean that resetting the decoder does not help. */
const MEDIA_ERRORS = 3;
const MEDIA_WINDOW_MS = 20_000;

/** Answers about a playlist that do not change by asking again. */
const PLAYLIST = [Hls.ErrorDetails.MANIFEST_LOAD_ERROR, Hls.ErrorDetails.LEVEL_LOAD_ERROR];
const GONE = [401, 403, 404, 410];

/** @returns {boolean} */
export const supported = () => Hls.isSupported();

/** @implements {Backend} @typedef {import("./backend.js").Backend} Backend */
export class MseBackend {
  /** @param {HTMLVideoElement} video @param {string} url @param {import("./backend.js").Report} report */
  constructor(video, url, report) {
    this.video = video;
    this.report = report;
    /** @type {number[]} */
    this.mediaErrors = [];
    this.fetching = false;
    this.starved = false;
    this.hls = new Hls(TUNING);
    this.hls.on(Hls.Events.FRAG_LOADING, () => {
      this.fetching = true;
    });
    this.hls.on(Hls.Events.FRAG_LOADED, () => {
      this.fetching = false;
    });
    this.hls.on(Hls.Events.FRAG_BUFFERED, () => {
      this.report.ready();
      this.#cut();
    });
    this.hls.on(Hls.Events.ERROR, (_, error) => this.#failed(error));
    this.onEnded = () => this.report.ended();
    video.addEventListener("ended", this.onEnded);
    this.governor = setInterval(() => this.#govern(), GOVERN_MS);
    this.hls.loadSource(url);
    this.hls.attachMedia(video);
  }

  goLive() {
    const edge = this.hls.liveSyncPosition;
    if (edge !== null) this.video.currentTime = edge;
    this.hls.startLoad(-1);
  }

  /** @returns {import("./backend.js").Facts} */
  facts() {
    const shown = this.hls.playingDate;
    return {
      byDate: shown === null ? null : (Date.now() - shown.getTime()) / 1000,
      byEdge: this.hls.latestLevelDetails ? this.hls.latency : null,
    };
  }

  destroy() {
    clearInterval(this.governor);
    this.video.removeEventListener("ended", this.onEnded);
    this.video.playbackRate = 1;
    this.hls.destroy();
  }

  #govern() {
    const target = this.hls.targetLatency;
    if (this.video.paused || target === null) return;
    const ahead = bufferedAhead(this.video);
    const before = this.starved;
    this.starved = !this.fetching && starving(this.hls.latency, ahead);
    const next = this.starved && before ? "jump" : catchUp(this.hls.latency, target, ahead, this.video.playbackRate);
    if (next === "jump") this.goLive();
    else if (next !== this.video.playbackRate) this.video.playbackRate = next;
  }

  /**
   * Lets go of what was played, at the moment when everything that there is has come and the next part is 200 ms away.
   *
   * hls.js does it when the segment on the screen changes: a part that is being appended just then is forgotten as loaded, and when that
   * segment's sound ends a microsecond before its picture (1024 / 48000 s, rounded), hls.js waits for the forgotten part for ever.
   */
  #cut() {
    const details = this.hls.latestLevelDetails;
    const { buffered, currentTime } = this.video;
    if (details === null || buffered.length === 0 || details.edge - buffered.end(buffered.length - 1) > 0.1) return;
    const end = superfluous(buffered.start(0), currentTime);
    // @ts-ignore: null is every track
    if (end !== null) this.hls.trigger(Hls.Events.BUFFER_FLUSHING, { startOffset: 0, endOffset: end, type: null });
  }

  /** @param {import("/vendor/hls.js/hls.light.min.mjs").ErrorData} error */
  #failed(error) {
    if (error.frag) this.fetching = false;
    // hls.js would ask again five times: but the stream is over, or our session is, and the API knows which.
    const gone = PLAYLIST.includes(error.details) && GONE.includes(error.response?.code ?? 0);
    if (!error.fatal && !gone) return;
    if (error.type === Hls.ErrorTypes.MEDIA_ERROR && this.#mayRecover()) {
      this.hls.recoverMediaError();
      return;
    }
    this.report.failed(gone);
  }

  /** @returns {boolean} whether resetting the decoder is worth another try */
  #mayRecover() {
    const now = performance.now();
    this.mediaErrors = [...this.mediaErrors.filter((at) => now - at < MEDIA_WINDOW_MS), now];
    return this.mediaErrors.length < MEDIA_ERRORS;
  }
}

/** @param {HTMLVideoElement} video @returns {number} seconds that can be played from here without a gap */
export function bufferedAhead({ buffered, currentTime }) {
  for (let i = 0; i < buffered.length; i += 1)
    if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  return 0;
}
