/**
 * Playing through the browser's own HLS: iPhones, and Safari where Media Source Extensions are missing.
 */

/** @returns {boolean} */
export const supported = () => document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "";

/** @implements {Backend} @typedef {import("./backend.js").Backend} Backend */
export class NativeBackend {
  /** @param {HTMLVideoElement} video @param {string} url @param {import("./backend.js").Report} report */
  constructor(video, url, report) {
    this.video = video;
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    video.addEventListener("loadeddata", () => report.ready(), { signal });
    video.addEventListener("ended", () => report.ended(), { signal });
    // Safari does not tell a 404 from any other failure: the page asks the API what became of the stream.
    video.addEventListener("error", () => report.failed(false), { signal });
    video.src = url;
  }

  goLive() {
    const { seekable } = this.video;
    if (seekable.length) this.video.currentTime = seekable.end(seekable.length - 1);
  }

  /** @returns {import("./backend.js").Facts} */
  facts() {
    const { seekable, currentTime } = this.video;
    const start = /** @type {HTMLVideoElement & {getStartDate?: () => Date}} */ (this.video).getStartDate?.();
    const dated = start !== undefined && !Number.isNaN(start.getTime());
    return {
      byDate: dated ? (Date.now() - start.getTime()) / 1000 - currentTime : null,
      byEdge: seekable.length ? seekable.end(seekable.length - 1) - currentTime : null,
    };
  }

  destroy() {
    this.listeners.abort();
    this.video.removeAttribute("src");
    this.video.load();
  }
}
