/**
 * What a streamer should know or change, from what arrives at the server.
 */

/** More than this and many phones on mobile data stall, in bit/s. */
const BITRATE_MAX = 8e6;
/** A warning that did not happen again for this long goes away, in ms. */
const FRESH_MS = 30_000;

/** @typedef {{id: string, text: string}} Warning */
/** @typedef {import("../lib/streams.js").Ingest} Ingest */

/**
 * What is to be seen from the numbers alone. Pure.
 *
 * @param {Ingest} ingest
 * @returns {Warning[]}
 */
export function standing(ingest) {
  const found = [];
  if (ingest.codecs && !ingest.sample_rate)
    found.push({
      id: "silent",
      text: "There is no sound track. If that is not meant, check the audio settings of your encoder.",
    });
  if (ingest.bitrate > BITRATE_MAX)
    found.push({
      id: "bitrate",
      text: `The bit rate is ${(ingest.bitrate / 1e6).toFixed(1)} Mbit/s. Viewers on mobile networks do not keep up with more than 6.`,
    });
  return found;
}

/** The server counts what happened since the broadcast began; these are the ones that happened lately. */
export class Recent {
  constructor() {
    /** @type {Map<string, {count: number, at: number}>} */
    this.seen = new Map();
  }

  /** @param {Ingest} ingest @param {number} nowMs @returns {Warning[]} */
  update(ingest, nowMs) {
    const fresh = [];
    for (const { code, count, text } of ingest.warnings) {
      const before = this.seen.get(code);
      const at = before?.count === count ? before.at : nowMs;
      this.seen.set(code, { count, at });
      if (nowMs - at < FRESH_MS) fresh.push({ id: code, text });
    }
    return fresh;
  }
}
