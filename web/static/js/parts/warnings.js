/**
 * What a streamer should change, from what the preview sees. Facts, then the remedy.
 */

/** Viewers join and catch up at keyframes: further apart than this and both take long, in seconds. */
const KEYFRAMES_MAX = 4.2;
/** More than this and many phones on mobile data stall, in bit/s. */
const BITRATE_MAX = 8e6;

/** @typedef {{id: string, text: string}} Warning */

/**
 * @param {import("../player/backend.js").Facts & {height: number, stalls: number}} facts
 * @returns {Warning[]}
 */
export function warnings(facts) {
  const found = [];
  if (facts.longestSegment !== null && facts.longestSegment > KEYFRAMES_MAX)
    found.push({
      id: "keyframes",
      text: `Keyframes are up to ${facts.longestSegment.toFixed(1)} s apart. Set the keyframe interval of your encoder to 2 s.`,
    });
  if (facts.hasAudio === false)
    found.push({
      id: "silent",
      text: "There is no sound track. If that is not meant, check the audio settings of your encoder.",
    });
  if (facts.bitrate !== null && facts.bitrate > BITRATE_MAX)
    found.push({
      id: "bitrate",
      text: `The bit rate is ${(facts.bitrate / 1e6).toFixed(1)} Mbit/s. Viewers on mobile networks will not keep up with more than 6.`,
    });
  return found;
}
