/**
 * Calls to this server's own API: JSON in, JSON out, problem+json (RFC 9457) as one error class.
 */

/** How long a call may take, in ms. Above the slowest healthy answer, below what a person waits for. */
const DEADLINE_MS = 15_000;

/** @typedef {{pointer: string, code: string, detail: string}} FieldError */

/** A call that did not succeed: the problem of the answer, or status 0 when no answer came. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status, 0 for a network failure or a deadline
   * @param {{code?: string, title?: string, detail?: string, errors?: FieldError[]}} problem
   * @param {number} retryAfterMs what Retry-After asked for, 0 when it did not
   */
  constructor(status, problem, retryAfterMs = 0) {
    super(problem.detail || problem.title || "The server did not answer.");
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? (status === 0 ? "unreachable" : "unknown");
    this.fields = problem.errors ?? [];
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * One call. Resolves with the parsed body (null for 204), rejects with ApiError, or with AbortError when `signal` fired.
 *
 * @param {"GET"|"POST"|"PATCH"|"PUT"|"DELETE"} method
 * @param {string} path
 * @param {{body?: object, signal?: AbortSignal, keepalive?: boolean}} [options] keepalive: goes out even though the page is leaving
 * @returns {Promise<any>}
 */
export async function call(method, path, { body, signal, keepalive = false } = {}) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  /** @type {RequestInit} */
  const request = {
    method,
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    headers: { Accept: "application/json" },
    keepalive,
  };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = {
      ...request.headers,
      "Content-Type": method === "PATCH" ? "application/merge-patch+json" : "application/json",
    };
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, { detail: "The server cannot be reached." });
  }
  if (answer.status === 204) return null;
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  throw new ApiError(answer.status, value, retryAfterMs(answer.headers.get("Retry-After")));
}

/**
 * The server gives absolute URLs of its public address; this page stays on the address that it came from.
 *
 * @param {string} url
 * @returns {string} path and query of `url`
 */
export function local(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

/** @param {string|null} value seconds or an HTTP date @returns {number} */
function retryAfterMs(value) {
  if (!value) return 0;
  const seconds = Number(value);
  return Number.isFinite(seconds) ? seconds * 1000 : Math.max(0, Date.parse(value) - Date.now() || 0);
}
