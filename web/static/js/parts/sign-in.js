/**
 * The sign-in dialog: a sign-in link for those who have one, a name for guests.
 */

import { ApiError } from "../lib/api.js";
import { h, icon } from "../lib/dom.js";
import * as session from "../lib/session.js";

/** @returns {{open: () => void}} */
export function signInDialog() {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "sign-in-title" },
    h(
      "div",
      { class: "stack" },
      h(
        "div",
        { class: "spread" },
        h("h2", { id: "sign-in-title" }, "Sign in"),
        h(
          "button",
          { class: "button quiet round", type: "button", "aria-label": "Close", click: () => dialog.close() },
          icon("close"),
        ),
      ),
      linkForm(() => dialog.close()),
      h("p", { class: "or" }, "or enter as a guest"),
      guestForm(() => dialog.close()),
    ),
  );
  document.body.append(dialog);
  return { open: () => dialog.showModal() };
}

/**
 * Signing in by link; the go-live page shows it as well.
 *
 * @param {() => void} [done]
 * @returns {HTMLFormElement}
 */
export function linkForm(done = () => {}) {
  return form(
    "Sign-in link",
    "The server prints one when it starts. “nova login” makes a new one.",
    { name: "code", autocomplete: "off", placeholder: `${location.origin}/#code=…`, spellcheck: "false" },
    "Sign in",
    true,
    async (text) => {
      const code = session.codeIn(text);
      if (code === "") throw new ApiError(422, { detail: "That is not a sign-in link." });
      await session.signIn(code).catch((error) => {
        throw new ApiError(error.status ?? 0, { detail: session.refusal(error) });
      });
      done();
    },
  );
}

/** @param {() => void} done @returns {HTMLFormElement} */
function guestForm(done) {
  return form(
    "Guest name",
    "",
    { name: "name", autocomplete: "nickname", maxlength: 64 },
    "Enter as guest",
    false,
    async (text) => {
      await session.enterAsGuest(text.trim()).catch((error) => {
        throw error instanceof ApiError && error.status === 403
          ? new ApiError(403, { detail: "This server takes no guests." })
          : error;
      });
      done();
    },
  );
}

/**
 * @param {string} label
 * @param {string} hint
 * @param {Record<string, unknown>} attributes
 * @param {string} action
 * @param {boolean} primary
 * @param {(text: string) => Promise<void>} send
 * @returns {HTMLFormElement}
 */
function form(label, hint, attributes, action, primary, send) {
  const id = `field-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  const input = h("input", { id, class: "input", required: true, "aria-describedby": `${id}-note`, ...attributes });
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const button = h("button", { class: primary ? "button primary" : "button", type: "submit" }, action);
  return h(
    "form",
    {
      class: "stack",
      submit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        button.disabled = true;
        error.hidden = true;
        input.removeAttribute("aria-invalid");
        try {
          await send(input.value);
          input.value = "";
        } catch (problem) {
          error.textContent = problem instanceof Error ? problem.message : "It did not work.";
          error.hidden = false;
          input.setAttribute("aria-invalid", "true");
          input.focus();
        } finally {
          button.disabled = false;
        }
      },
    },
    h(
      "div",
      { class: "field" },
      h("label", { for: id }, label),
      input,
      h("p", { class: "hint", id: `${id}-note` }, hint),
      error,
    ),
    h("div", {}, button),
  );
}
