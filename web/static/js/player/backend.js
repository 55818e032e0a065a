/**
 * What the player asks of the thing that fetches and decodes. Two ways: `mse.js` (hls.js) and `native.js` (Safari's own).
 *
 * A backend reports through `report` and never touches the page.
 */

/**
 * @typedef {object} Facts what is known about the picture now; null = unknown
 * @property {number|null} byDate seconds since the picture's PROGRAM-DATE-TIME
 * @property {number|null} byEdge seconds behind the newest part
 */

/**
 * @typedef {object} Report
 * @property {() => void} ready the first picture can be shown
 * @property {() => void} ended the stream ended and was played to its end
 * @property {(gone: boolean) => void} failed it cannot go on by itself; gone: the server says that there is no such live stream
 */

/**
 * @typedef {object} Backend
 * @property {() => void} goLive jump to the newest picture that can be played without a stall
 * @property {() => Facts} facts
 * @property {() => void} destroy
 */

export {};
