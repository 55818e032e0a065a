/**
 * The streams API by name, so that pages speak of streams and not of paths.
 */

import { call } from "./api.js";

/** @typedef {"idle"|"live"|"reconnecting"|"ended"} StreamStatus */

/**
 * @typedef {object} Stream
 * @property {string} id
 * @property {string} title
 * @property {string} description
 * @property {string[]} tags
 * @property {"public"|"unlisted"|"private"} visibility
 * @property {string} owner user id
 * @property {StreamStatus} status
 * @property {number} viewers
 * @property {string|null} started_at RFC 3339
 * @property {string} created_at RFC 3339
 * @property {string} watch_url
 * @property {string} hls_url
 * @property {string} thumb_url
 */

/** @typedef {{key: string, key_id: string, rtmp_server: string|null, rtmp_url: string|null}} StreamKey shown once; null: RTMP is off */
/** @typedef {{key_id: string, hint?: string, created_at: string, used_at?: string|null}} KeyFact hint: the first characters of the key */
/** @typedef {{session: string, hls_url: string, expires_at: string, viewers: number}} Seat a place among the viewers */

/**
 * @typedef {object} Ingest numbers of the running publisher; what a track does not have is missing
 * @property {number} bitrate bit/s, over the last segments
 * @property {number} frame_rate
 * @property {number} key_frame_interval_s
 * @property {{code: string, count: number, text: string}[]} warnings since the broadcast began
 * @property {string} [codecs]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [sample_rate]
 */

/** @typedef {{viewers: number, ingest: Ingest|null}} Analytics */

/** @param {string} id @returns {string} */
const at = (id) => `/v1/streams/${encodeURIComponent(id)}`;

/**
 * @param {Record<string, string|number>} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<{items: Stream[], cursor: string|null}>}
 */
export const list = (query, signal) => {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  return call("GET", `/v1/streams?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`, {
    signal,
  });
};

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Stream>} */
export const get = (id, signal) => call("GET", at(id), { signal });

/**
 * @param {{title: string, description?: string, tags?: string[], visibility?: string}} wish
 * @returns {Promise<Stream & StreamKey>}
 */
export const create = (wish) => call("POST", "/v1/streams", { body: wish });

/** @param {string} id @param {object} change merge patch @returns {Promise<Stream>} */
export const change = (id, change) => call("PATCH", at(id), { body: change });

/** @param {string} id @returns {Promise<null>} */
export const remove = (id) => call("DELETE", at(id));

/** Ends the broadcast; the stream and its keys stay. @param {string} id @returns {Promise<Stream|null>} */
export const stop = (id) => call("POST", `${at(id)}/stop`);

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Seat>} */
export const join = (id, signal) => call("POST", `${at(id)}/join`, { signal });

/** Gives the place up, even while the page goes away. @param {string} id @param {string} session @returns {Promise<null>} */
export const leave = (id, session) => call("POST", `${at(id)}/leave`, { body: { session }, keepalive: true });

/** For the owner. @param {string} id @param {AbortSignal} [signal] @returns {Promise<Analytics>} */
export const analytics = (id, signal) => call("GET", `${at(id)}/analytics`, { signal });

/** @param {string} id @returns {Promise<{items: KeyFact[]}>} */
export const keys = (id) => call("GET", `${at(id)}/keys`);

/** @param {string} id @returns {Promise<StreamKey>} */
export const newKey = (id) => call("POST", `${at(id)}/keys`);

/** Also drops a publisher that uses the key. @param {string} id @param {string} keyId @returns {Promise<null>} */
export const removeKey = (id, keyId) => call("DELETE", `${at(id)}/keys/${encodeURIComponent(keyId)}`);
