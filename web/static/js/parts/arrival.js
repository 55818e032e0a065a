/**
 * What arrives at the server from the publisher, in numbers, and what is wrong with it.
 */

import { fill, h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { poll } from "../lib/poll.js";
import * as streams from "../lib/streams.js";
import { Recent, standing } from "./warnings.js";

const EVERY_MS = 3000;

export class Arrival {
  /** @param {string} id of the stream @param {() => number|null} latency seconds that viewers are behind */
  constructor(id, latency) {
    this.latency = latency;
    this.recent = new Recent();
    this.facts = h("dl", { class: "facts", id: "arrival" });
    this.warnings = h("div", { class: "stack", id: "warnings", role: "status" });
    this.#draw(null);
    this.asking = poll(EVERY_MS, async (signal) => this.#draw(await streams.analytics(id, signal)));
  }

  leave() {
    this.asking.stop();
  }

  /** @param {streams.Analytics|null} analytics */
  #draw(analytics) {
    const ingest = analytics?.ingest ?? null;
    const latency = this.latency();
    const rows = [
      ["Viewers", analytics ? String(analytics.viewers) : "–"],
      ["Picture", ingest?.height ? picture(ingest) : "–"],
      ["Bit rate", ingest?.bitrate ? format.bitrate(ingest.bitrate) : "–"],
      ["Keyframes", ingest?.key_frame_interval_s ? `every ${ingest.key_frame_interval_s.toFixed(1)} s` : "–"],
      ["Codecs", ingest?.codecs || "–"],
      ["Delay to viewers", ingest && latency !== null ? `${latency.toFixed(1)} s` : "–"],
    ];
    fill(this.facts, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    const found = ingest ? [...this.recent.update(ingest, Date.now()), ...standing(ingest)] : [];
    // The region is live: writing the same again would have it read out again.
    const key = found.map(({ text }) => text).join("\n");
    if ((this.warnings.dataset.shown ?? "") === key) return;
    this.warnings.dataset.shown = key;
    fill(
      this.warnings,
      ...found.map(({ id, text }) => h("p", { class: "notice", "data-kind": "warn", "data-warning": id }, text)),
    );
  }
}

/** @param {streams.Ingest} ingest @returns {string} */
const picture = ({ width, height, frame_rate }) =>
  `${width} × ${height}${frame_rate ? `, ${Math.round(frame_rate * 100) / 100} fps` : ""}`;
