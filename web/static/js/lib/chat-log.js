/**
 * What a chat shows, from what its channel tells. Pure: no elements, no clock.
 *
 * @typedef {{id: string, user: string, name: string, badges: string[], text: string, at: number}} Comment
 * @typedef {{comments?: Comment[], removed?: string[], reaction?: string, viewers?: number, status?: string,
 *   mode?: {enabled: boolean, slow_mode_s: number, guests: boolean}}} Change what one publication changes
 */

/** Comments kept; a page that stays open for a day does not grow. */
export const KEPT = 200;

export class ChatLog {
  constructor() {
    /** @type {Comment[]} oldest first */
    this.comments = [];
    this.epoch = "";
  }

  /** Comments that were there before. @param {{id: string, user: string, name: string, badges: string[], text: string, at: string}[]} newestFirst */
  load(newestFirst) {
    const older = newestFirst.toReversed().map((each) => ({ ...each, at: Date.parse(each.at) }));
    return this.#add(older);
  }

  /** The channel is followed: ids of comments carry its epoch. @param {string} epoch */
  joined(epoch) {
    this.epoch = epoch;
  }

  /**
   * Only what has no `info` is the server's own word; what has is somebody's.
   *
   * @param {{offset: number, data: any, at: number, info: any, replayed: boolean}} publication
   * @returns {Change}
   */
  add({ offset, data, at, info, replayed }) {
    if (info !== null) {
      if (typeof data?.text === "string") {
        const { user = "", name = user, badges = [] } = info;
        return { comments: this.#add([{ id: `${this.epoch}.${offset}`, user, name, badges, text: data.text, at }]) };
      }
      return typeof data?.reaction === "string" && !replayed ? { reaction: data.reaction } : {};
    }
    switch (data?.type) {
      case "viewers":
        return { viewers: data.count };
      case "status":
        return { status: data.status };
      case "mode":
        return { mode: data };
      case "delete":
        return { removed: this.#remove((comment) => comment.id === data.id) };
      case "clear":
        return { removed: this.#remove((comment) => comment.user === data.user) };
      default:
        return {};
    }
  }

  /** @param {Comment[]} comments @returns {Comment[]} those that are new */
  #add(comments) {
    const known = new Set(this.comments.map((comment) => comment.id));
    const fresh = comments.filter((comment) => !known.has(comment.id));
    this.comments.push(...fresh);
    this.comments.sort((a, b) => a.at - b.at);
    this.comments.splice(0, this.comments.length - KEPT);
    return fresh;
  }

  /** @param {(comment: Comment) => boolean} which @returns {string[]} their ids */
  #remove(which) {
    const removed = this.comments.filter(which).map((comment) => comment.id);
    this.comments = this.comments.filter((comment) => !which(comment));
    return removed;
  }
}

/**
 * What a person reads when a comment was not taken.
 *
 * @param {{code: string, message: string, retryMs?: number|null}} refused
 * @returns {string}
 */
export function refusal({ code, message, retryMs }) {
  const seconds = retryMs ? Math.ceil(retryMs / 1000) : 0;
  switch (code) {
    case "slow_mode":
      return `Slow mode: you can write again in ${seconds || "a few"} s.`;
    case "rate_limited":
      return seconds ? `Not so fast: try again in ${seconds} s.` : "Not so fast: try again in a moment.";
    case "banned":
      return "You may not write in this chat.";
    case "chat_disabled":
      return "The chat is closed.";
    case "guests_forbidden":
      return "Guests may not write in this chat.";
    case "text_refused":
      return "This was not taken: the chat's rules do not allow it.";
    case "unauthenticated":
    case "missing_scope":
      return "Sign in to write.";
    case "deadline":
    case "stopped":
    case "overloaded":
      return "It did not get through. Try again.";
    default:
      return message || "It did not work.";
  }
}

/**
 * What to say about the connection; empty while all is well.
 *
 * @param {string} state of Realtime
 * @param {boolean} wasConnected
 * @returns {string}
 */
export const standing = (state, wasConnected) =>
  ({
    connected: "",
    stopped: "Not connected.",
    waiting: wasConnected ? "The connection broke. Coming back…" : "The server does not answer. Trying again…",
  })[state] ?? (wasConnected ? "Coming back…" : "Connecting…");
