/**
 * Pictures of this server's API: sent, listed, asked for in every format.
 */

import { ApiError, call, local } from "./api.js";

/** @typedef {{preset: string, format: string, width: number, height: number, size_bytes: number, ms: number}} Variant */
/**
 * @typedef {{id: string, width: number, height: number, format: string, frames: number, size_bytes: number, digest: string, color: string,
 *   urls: Record<string, string>, created_at: string, variants?: Variant[]}} Picture
 */

/** Formats that are asked for by name, and what the table calls them. */
export const FORMATS = /** @type {const} */ ([
  ["image/avif", "AVIF"],
  ["image/webp", "WebP"],
  ["image/jpeg", "JPEG"],
]);

/**
 * Sends a picture; `progress` hears how much of it is away, from 0 to 1. Rejects with ApiError.
 *
 * @param {Blob} file
 * @param {(part: number) => void} progress
 * @returns {Promise<Picture>}
 */
export function send(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload under way
    request.open("POST", "/v1/images");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(request.response);
      else reject(new ApiError(request.status, request.response ?? {}));
    });
    request.addEventListener("error", () => reject(new ApiError(0, { detail: "The server cannot be reached." })));
    request.send(file);
  });
}

/** @param {AbortSignal} [signal] @returns {Promise<{items: Picture[]}>} */
export const list = (signal) => call("GET", "/v1/images?limit=12", { signal });

/** @param {string} id @returns {Promise<null>} */
export const remove = (id) => call("DELETE", `/v1/images/${encodeURIComponent(id)}`);

/**
 * Asks for a result in one format.
 *
 * @param {string} url as the API gave it
 * @param {string} type
 * @returns {Promise<{type: string, bytes: number, ms: number}>}
 */
export async function measure(url, type) {
  const began = performance.now();
  const answer = await fetch(local(url), { headers: { Accept: type }, cache: "no-store" });
  const body = await answer.blob();
  if (!answer.ok) throw new ApiError(answer.status, {});
  return { type: answer.headers.get("Content-Type") ?? "", bytes: body.size, ms: performance.now() - began };
}
