/**
 * One stream of one's own: where to send it, what arrives, and its keys.
 */

import { ApiError } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import * as streams from "../lib/streams.js";
import { Cover } from "../player/cover.js";
import { Controls } from "../player/controls.js";
import { Seat } from "../player/seat.js";
import { Arrival } from "./arrival.js";
import { connection } from "./connection.js";
import { KeyList } from "./key-list.js";
import { toast } from "./toast.js";

export class StreamDesk {
  /** @param {string} id @param {streams.StreamKey|null} key known only right after it was made */
  constructor(id, key) {
    this.id = id;
    this.badge = h("span", { class: "badge", id: "status" });
    this.title = h("h1", {}, "…");
    this.head = h(
      "div",
      { class: "whole stack" },
      h("a", { class: "small", href: "/go-live" }, "← All your streams"),
      h("div", { class: "spread" }, this.title, this.badge),
    );
    this.state = h("p", { class: "notice", role: "status", id: "state" }, "Asking the server …");
    this.connection = h("div", { class: "stack" });
    this.keys = new KeyList(id, (made) => this.#connect(made));
    const video = h("video", { playsinline: true, muted: true });
    video.muted = true;
    const box = h("div", { class: "player" }, video);
    this.seat = new Seat(id, video);
    this.arrival = new Arrival(id, () => this.seat.player.facts().latency);
    this.actions = h("div", { class: "row" });
    this.side = h(
      "aside",
      { class: "stack", "aria-label": "Preview" },
      box,
      h("div", { class: "sheet stack" }, this.arrival.facts, this.actions),
    );

    this.element = h("div", { class: "stack" }, this.state, this.arrival.warnings, this.connection, this.keys.element);

    this.cover = new Cover(box);
    new Controls(box, this.seat.player);
    this.seat.addEventListener("cover", () => this.cover.show(this.seat.cover));
    this.seat.addEventListener("stream", () => this.#draw());
    this.seat.addEventListener("missing", () => fill(this.state, "This stream does not exist, or it is not yours."));
    this.#connect(key);
  }

  leave() {
    this.arrival.leave();
    this.seat.leave();
  }

  /** @param {streams.StreamKey|null} key */
  #connect(key) {
    fill(this.connection, ...connection(key, () => this.keys.make()));
  }

  #draw() {
    const stream = this.seat.stream;
    if (stream === null) return;
    document.title = `${stream.title || "Untitled stream"} · Go live · Nova`;
    this.title.textContent = stream.title || "Untitled stream";
    this.badge.textContent = format.status(stream.status);
    this.badge.dataset.status = stream.status;
    const told = {
      idle: ["plain", "Waiting for your stream. Start sending, and it goes live at once."],
      live: ["good", "You are live."],
      reconnecting: ["warn", "Your connection dropped. Viewers wait; start sending again and they go on watching."],
      ended: ["plain", "The broadcast has ended. Start sending again to go live anew, with the same key."],
    }[stream.status];
    this.state.dataset.kind = told[0];
    if (this.state.textContent !== told[1]) fill(this.state, told[1]);
    const running = stream.status === "live" || stream.status === "reconnecting";
    if (this.actions.dataset.running !== String(running)) {
      this.actions.dataset.running = String(running);
      fill(
        this.actions,
        h("a", { class: "button", href: `/watch/${encodeURIComponent(this.id)}` }, "Open watch page"),
        running
          ? h(
              "button",
              {
                class: "button danger",
                type: "button",
                id: "stop",
                click: () => this.#act(streams.stop, "Stop the broadcast for everybody?", "The broadcast was stopped."),
              },
              "Stop broadcast",
            )
          : null,
        running
          ? null
          : h(
              "button",
              {
                class: "button danger",
                type: "button",
                id: "delete",
                click: () =>
                  this.#act(
                    streams.remove,
                    "Delete this stream and its keys for good?",
                    "The stream was deleted.",
                    "/go-live",
                  ),
              },
              "Delete stream",
            ),
      );
    }
  }

  /**
   * @param {(id: string) => Promise<unknown>} act
   * @param {string} question
   * @param {string} done
   * @param {string} [next] where to go then
   */
  async #act(act, question, done, next) {
    if (!confirm(question)) return;
    try {
      await act(this.id);
      toast(done);
      if (next) location.assign(next);
      else this.seat.asking.now();
    } catch (error) {
      toast(error instanceof ApiError ? error.message : "That did not work.", "bad");
    }
  }
}
