/**
 * How hls.js plays our streams: parts of 200 ms, segments of 2 s, playlists that the server holds back until there is news.
 */

/** @type {Partial<import("/vendor/hls.js/hls.light.min.mjs").HlsConfig>} */
export const TUNING = {
  lowLatencyMode: true,
  // fMP4 passes through untouched: a worker would only add a hop for every part, and a blob: source to the security policy.
  enableWorker: false,
  // PART-HOLD-BACK of the playlist is the target. A stall moves it back a little, for this viewer only, instead of stalling again.
  liveSyncOnStallIncrease: 0.25,
  // The catch-up of latency.js replaces hls.js's own, which needs a second of buffer that a low latency does not have.
  maxLiveSyncPlaybackRate: 1,
  // Live is not rewound here: what was played goes, so that a page that is open for days stays small. mse.js sees to it.
  backBufferLength: Infinity,
  maxBufferLength: 8,
  // Streams arrive paced by the camera: bandwidth looks like the bit rate, so do not start below the only rendition there is.
  startLevel: -1,
  testBandwidth: false,
  // The server holds a request for a playlist at most three target durations (12 s) and then answers 503: wait for that answer.
  playlistLoadPolicy: {
    default: {
      maxTimeToFirstByteMs: 14_000,
      maxLoadTimeMs: 20_000,
      timeoutRetry: { maxNumRetry: 4, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: { maxNumRetry: 6, retryDelayMs: 500, maxRetryDelayMs: 4000 },
    },
  },
  manifestLoadPolicy: {
    default: {
      maxTimeToFirstByteMs: 14_000,
      maxLoadTimeMs: 20_000,
      timeoutRetry: { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: { maxNumRetry: 1, retryDelayMs: 500, maxRetryDelayMs: 1000 },
    },
  },
  // A part that the preload hint names is held back too, until its last frame came.
  fragLoadPolicy: {
    default: {
      maxTimeToFirstByteMs: 14_000,
      maxLoadTimeMs: 30_000,
      timeoutRetry: { maxNumRetry: 3, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: { maxNumRetry: 4, retryDelayMs: 300, maxRetryDelayMs: 3000 },
    },
  },
};
