/**
 * Asking again and again, politely: never two at once, slower after failures, not at all while nobody looks.
 */

import { ApiError } from "./api.js";

/** No pause grows beyond this, in ms: a page left open finds a server that came back within half a minute. */
const LONGEST_MS = 30_000;

/**
 * The pause before the next question.
 *
 * @param {number} everyMs the pause while all is well
 * @param {number} failures in a row
 * @param {number} retryAfterMs what the server asked for; it wins when longer
 * @param {number} random 0…1, spreads the clients of a server that restarts
 * @returns {number} ms
 */
export function pause(everyMs, failures, retryAfterMs, random) {
  const backedOff = Math.min(everyMs * 2 ** failures, Math.max(LONGEST_MS, everyMs));
  return Math.max(retryAfterMs, backedOff * (0.85 + 0.3 * random));
}

/**
 * Runs `task` now and then every `everyMs` while the page is visible.
 *
 * @param {number} everyMs
 * @param {(signal: AbortSignal) => Promise<void>} task its failure slows the pace and goes to `failed`
 * @param {(error: unknown) => void} [failed]
 * @returns {{now: () => void, stop: () => void}} `now` asks at once, cancelling a question under way
 */
export function poll(everyMs, task, failed = () => {}) {
  let failures = 0;
  let timer = 0;
  /** @type {AbortController|null} */
  let running = null;

  async function ask() {
    clearTimeout(timer);
    running?.abort();
    const mine = (running = new AbortController());
    let retryAfterMs = 0;
    try {
      await task(mine.signal);
      failures = 0;
    } catch (error) {
      if (mine.signal.aborted) return;
      failures += 1;
      retryAfterMs = error instanceof ApiError ? error.retryAfterMs : 0;
      failed(error);
    }
    if (mine.signal.aborted) return;
    running = null;
    if (!document.hidden) timer = setTimeout(ask, pause(everyMs, failures, retryAfterMs, Math.random()));
  }

  const looked = () => {
    if (document.hidden) clearTimeout(timer);
    else if (running === null) ask();
  };
  document.addEventListener("visibilitychange", looked);
  ask();
  return {
    now: ask,
    stop() {
      clearTimeout(timer);
      running?.abort();
      document.removeEventListener("visibilitychange", looked);
    },
  };
}
