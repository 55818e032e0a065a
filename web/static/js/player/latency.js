/**
 * How far behind live the picture is, from two clocks of which each can lie.
 *
 * PROGRAM-DATE-TIME says when the picture on the screen reached the server; against this machine's clock that is the whole delay, but only
 * if both clocks agree. The playlist's edge says how far behind the newest part we play, with no clock at all, but without the
 * part that is being filled and its way here.
 */

/** What lies between the picture and the newest named part is at most this, in seconds: one part and a slow network. */
const PLAUSIBLE_EXTRA = 3;

/**
 * @param {number|null} byDate now minus the picture's PROGRAM-DATE-TIME, seconds
 * @param {number|null} byEdge playlist edge minus play position, seconds
 * @returns {number|null} seconds, null when nothing is known
 */
export function liveLatency(byDate, byEdge) {
  if (byDate === null) return byEdge;
  if (byEdge === null) return byDate >= 0 ? byDate : null;
  const extra = byDate - byEdge;
  return extra > -0.25 && extra < PLAUSIBLE_EXTRA ? Math.max(0, byDate) : byEdge;
}

/** Further behind than this is a jump, not a chase, in seconds: three segments. */
const JUMP = 6;

/**
 * What brings a viewer to the target: inaudibly faster play or a jump for who fell behind (a stall, a slow network, a drifting clock),
 * inaudibly slower play for who began nearer than the server advises (with a stream's first part) and has too little in the buffer.
 *
 * Faster only with something in the buffer to play from: a stall would cost more than it gains.
 *
 * @param {number} behind seconds behind the newest part
 * @param {number} target seconds behind that we want
 * @param {number} buffered seconds that can be played without another byte
 * @param {number} rate the rate now: what was begun ends later than it begins, or it would flicker
 * @returns {number|"jump"} the playback rate from now on
 */
export function catchUp(behind, target, buffered, rate) {
  const excess = behind - target;
  if (excess > JUMP) return "jump";
  if (excess < (rate < 1 ? -0.05 : -0.2)) return 0.95;
  if (buffered < 0.4 * target) return 1;
  if (excess > 1.5) return 1.1;
  return excess > (rate > 1 ? 0.06 : 0.25) ? 1.05 : 1;
}

/**
 * @param {number} behind seconds behind the newest part
 * @param {number} buffered seconds that can be played without another byte
 * @returns {boolean} whether there is nothing to play although there is more than a part to fetch
 */
export const starving = (behind, buffered) => buffered < 0.1 && behind > 0.5;

/** Played seconds that stay, and how many may gather before they are cut to that. */
const KEPT = 12;
const GATHERED = 20;

/**
 * @param {number} start where the buffer begins, seconds
 * @param {number} position what is played now, seconds
 * @returns {number|null} everything before this can go; null: it is not worth it yet
 */
export const superfluous = (start, position) => (position - start > GATHERED ? position - KEPT : null);
