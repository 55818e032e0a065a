/**
 * The CDN's status: asks every two seconds and writes what it hears.
 */

import { ApiError, call } from "../lib/api.js";
import { bytes, jobWord, milliseconds, originWord, percent } from "../lib/cdn.js";
import { fill, h, must } from "../lib/dom.js";
import { poll } from "../lib/poll.js";
import * as session from "../lib/session.js";
import { wireAccount } from "../parts/account.js";
import { wireTheme } from "../parts/theme.js";

const EVERY_MS = 2000;
/** Whether origins and jobs are shown to us. */
const may = () => ["cdn:admin", "metrics:read", "service"].some(session.may);

wireTheme();
const known = wireAccount();
poll(EVERY_MS, refresh, failed);

/** @param {AbortSignal} signal */
async function refresh(signal) {
  const [metrics, edges] = await Promise.all([
    call("GET", "/v1/cdn/metrics", { signal }),
    call("GET", "/v1/cdn/edges", { signal }),
    known, // who we are decides what is said to be missing
  ]);
  say("", "");
  must("#edge").textContent = `this edge: ${metrics.edge}`;
  showFigures(metrics.total);
  fill(must("#sites"), ...(metrics.sites.length ? metrics.sites.map(siteSheet) : [nothing("No site is configured: [[cdn.sites]] in nova.toml.")]));
  fill(must("#edges"), table(["Edge", "Region", "State", "Load", "Configuration"], edges.items.map(edgeRow)));
  fill(must("#jobs"), metrics.jobs.length ? table(["Job", "Kind", "State", "Objects", "Asked"], metrics.jobs.map(jobRow)) : nothing(may() ? "Nothing was invalidated or prewarmed lately." : "Jobs are shown to who may read metrics."));
  must("#main").removeAttribute("aria-busy");
}

/** @param {unknown} error */
function failed(error) {
  if (error instanceof ApiError && (error.status === 401 || error.status === 403)) say("warn", "Sign in to see how the CDN does.", signIn());
  else say("bad", "The server does not answer. What you see may be old; the page keeps asking.");
}

/**
 * @param {""|"warn"|"bad"} kind
 * @param {string} text
 * @param {HTMLElement} [remedy] what to press
 */
function say(kind, text, remedy) {
  const note = must("#note");
  if (note.dataset.said === text) return;
  note.dataset.said = text;
  fill(note, ...(text ? [h("p", { class: "notice", "data-kind": kind, role: "status" }, text), remedy] : []));
}

const signIn = () => h("button", { class: "button primary", type: "button", click: () => must("#sign-in").click() }, "Sign in");

/** @param {Record<string, number>} total */
function showFigures(total) {
  const figures = [
    ["Hit ratio", percent(total.hit_ratio)],
    ["Requests", String(total.requests ?? 0)],
    ["Fetches", String(total.fills ?? 0)],
    ["Collapsed", String(total.collapsed ?? 0)],
    ["Stale", String(total.stale ?? 0)],
    ["Objects", String(total.objects ?? 0)],
    ["Memory", bytes(total.bytes)],
  ];
  fill(must("#figures"), ...figures.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** @param {any} site */
function siteSheet(site) {
  const state = site.down ? word("bad", "no origin answers") : word("good", site.hit_ratio === null ? "nothing asked for yet" : percent(site.hit_ratio) + " from the cache");
  const facts = `${site.requests ?? 0} requests · ${site.retries} retries · ${site.hedges} hedges · ${site.resumes} resumed · budget ${site.retry_budget}`;
  return h(
    "article",
    { class: "sheet stack", "data-site": site.site },
    h("div", { class: "spread" }, h("h3", {}, site.site), state),
    h("p", { class: "soft small" }, facts),
    site.origins.length
      ? table(["Origin", "State", "Requests", "Failures", "First byte p50", "p99"], site.origins.map(originRow))
      : nothing(may() ? "Its origins stand here once one of them was asked." : "Its origins are shown to who may read metrics."),
  );
}

/** @param {import("../lib/cdn.js").Origin} origin */
function originRow(origin) {
  const { kind, text } = originWord(origin);
  const name = origin.backup ? `${origin.url} (backup)` : origin.url;
  return [name, word(kind, text), origin.requests, origin.failures, milliseconds(origin.p50_ms), milliseconds(origin.p99_ms)];
}

/** @param {any} edge */
function edgeRow(edge) {
  return [edge.edge, edge.region, edge.healthy ? word("good", "healthy") : word("bad", "not healthy"), percent(edge.load), edge.version];
}

/** @param {any} job */
function jobRow(job) {
  const { kind, text } = jobWord(job);
  const objects = job.edges.reduce((/** @type {number} */ sum, /** @type {any} */ edge) => sum + edge.objects, 0);
  return [job.id, job.kind, word(kind, text), objects, new Date(job.created_at).toLocaleTimeString()];
}

/**
 * @param {string[]} names
 * @param {(string|number|Node)[][]} rows
 */
function table(names, rows) {
  const head = h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name))));
  const body = rows.map((row) => h("tr", {}, ...row.map((cell, at) => h("td", { "data-name": names[at] }, typeof cell === "number" ? String(cell) : cell))));
  return h("table", { class: "facts" }, head, h("tbody", {}, ...body));
}

/**
 * @param {string} kind
 * @param {string} text
 */
function word(kind, text) {
  return h("span", { class: "word", "data-kind": kind }, text);
}

/** @param {string} text */
function nothing(text) {
  return h("p", { class: "soft" }, text);
}
