/**
 * The CDN's numbers as people read them.
 */

/** @typedef {{url: string, backup: boolean, weight: number, well: boolean, breaker: string, requests: number, failures: number,
 *   busy: number, p50_ms: number|null, p99_ms: number|null}} Origin */
/** @typedef {{kind: "good"|"warn"|"bad", text: string}} Word */

/**
 * A share as a percentage with one digit; a dash when there is none yet.
 *
 * @param {number|null|undefined} share 0…1
 */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
}

/**
 * Bytes in the unit that leaves one to three digits before the point.
 *
 * @param {number|undefined} count
 */
export function bytes(count) {
  let value = count ?? 0;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024 || unit === "TiB") return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/**
 * @param {number|null} value
 * @returns {string}
 */
export function milliseconds(value) {
  return value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/**
 * How an origin is, in one word.
 *
 * @param {Origin} origin
 * @returns {Word}
 */
export function originWord(origin) {
  if (!origin.well) return { kind: "bad", text: "sick" };
  if (origin.breaker === "open") return { kind: "bad", text: "left alone" };
  if (origin.breaker === "half_open") return { kind: "warn", text: "on trial" };
  return { kind: "good", text: "well" };
}

/**
 * How a job is, in one word.
 *
 * @param {{status: string, edges: {status: string}[]}} job
 * @returns {Word}
 */
export function jobWord(job) {
  if (job.status === "failed") return { kind: "bad", text: "failed" };
  if (job.status === "done") return { kind: "good", text: "done" };
  const done = job.edges.filter((edge) => edge.status !== "pending").length;
  return { kind: "warn", text: `${done} of ${job.edges.length} edges` };
}
