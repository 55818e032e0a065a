/**
 * Facts as people read them.
 */

const numbers = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** @param {number} count @returns {string} */
export const viewers = (count) => `${numbers.format(count)} ${count === 1 ? "viewer" : "viewers"}`;

/** @param {number} count @returns {string} */
export const compact = (count) => numbers.format(count);

/**
 * How long since `when`, by the clock of this machine: "12 s", "5 min", "2 h 05 min".
 *
 * @param {string} when RFC 3339
 * @param {number} nowMs
 * @returns {string}
 */
export function since(when, nowMs) {
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(when)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** @param {number} bitsPerSecond @returns {string} */
export const bitrate = (bitsPerSecond) =>
  bitsPerSecond >= 1e6 ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bitsPerSecond / 1e3)} kbit/s`;

/** A hue that belongs to this id, so that a stream without a picture keeps its colour. @param {string} id @returns {number} 0…359 */
export function hue(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.charCodeAt(0)) >>> 0;
  return (Math.imul(sum, 2654435761) >>> 0) % 360; // names that differ in their last letter get other colours too
}

/** @type {Record<string, string>} */
const STATUS = { live: "Live", reconnecting: "Reconnecting", ended: "Ended", idle: "Offline" };

/** @param {string} status @returns {string} */
export const status = (status) => STATUS[status] ?? status;

/** @param {number} bytes @returns {string} "312 B", "4.2 kB", "1.3 MB" */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} ms @returns {string} */
export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
