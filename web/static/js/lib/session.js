/**
 * Who is signed in, and the ways in and out. The session itself is an HttpOnly cookie that no script sees.
 */

import { ApiError, call } from "./api.js";

/** @typedef {{user: string, name?: string|null, scopes: string[], expires_at: string}} Session */

/** @type {Session|null} */
let session = null;

/** Fires `change` whenever the answer of `current()` changed. */
export const changes = new EventTarget();

/** @returns {Session|null} */
export const current = () => session;

/** @param {string} scope @returns {boolean} */
export const may = (scope) => session !== null && (session.scopes.includes(scope) || session.scopes.includes("admin"));

/** @param {Session|null} next @returns {Session|null} */
function become(next) {
  session = next;
  changes.dispatchEvent(new Event("change"));
  return session;
}

/** Asks the server who we are. Nobody is an answer too; only an unreachable server is an error. @returns {Promise<Session|null>} */
export async function load() {
  try {
    const answer = await call("GET", "/v1/session");
    return become(answer?.user ? answer : null);
  } catch (error) {
    if (error instanceof ApiError && [401, 403, 404].includes(error.status)) return become(null);
    throw error;
  }
}

/** @param {string} code of a sign-in URL; works once @returns {Promise<Session|null>} */
export const signIn = async (code) => become(await call("POST", "/v1/session", { body: { code } }));

/** @param {string} name shown to others @returns {Promise<Session|null>} */
export const enterAsGuest = async (name) => become(await call("POST", "/v1/session", { body: { name } }));

export async function signOut() {
  await call("DELETE", "/v1/session");
  become(null);
}

/**
 * Takes the code out of `/#code=…` and out of the address bar and the history, before anything can go wrong with it.
 *
 * @returns {string|null}
 */
export function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code === null) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return code;
}

/** @param {string} text a pasted sign-in URL, or its bare code @returns {string} */
export function codeIn(text) {
  const trimmed = text.trim();
  const hash = trimmed.indexOf("#");
  return hash < 0 ? trimmed : (new URLSearchParams(trimmed.slice(hash + 1)).get("code") ?? "");
}

/** What to tell somebody whose code was refused. @param {unknown} error @returns {string} */
export function refusal(error) {
  if (error instanceof ApiError && error.status === 0) return error.message;
  if (error instanceof ApiError && error.status === 429) return "Too many attempts. Wait a moment and try again.";
  if (error instanceof ApiError && error.status < 500)
    return "This sign-in link was used already or is too old. Run “nova login” for a new one.";
  return "Signing in failed. Try again in a moment.";
}
