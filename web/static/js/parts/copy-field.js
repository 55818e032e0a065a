/**
 * A read-only value with a copy button, and for secrets a button that shows it.
 */

import { copy } from "../lib/clipboard.js";
import { h, icon } from "../lib/dom.js";
import { toast } from "./toast.js";

/**
 * @param {() => string} text read at the click
 * @param {string} what named in the confirmation, as in "Server copied"
 * @returns {HTMLButtonElement}
 */
export function copyButton(text, what) {
  return h(
    "button",
    {
      class: "button",
      type: "button",
      "aria-label": `Copy ${what.toLowerCase()}`,
      click: async () => {
        if (await copy(text())) toast(`${what} copied`);
        else toast("Copying is not allowed here. Select the text instead.", "bad");
      },
    },
    icon("copy"),
    h("span", { class: "text" }, "Copy"),
  );
}

let made = 0;

/**
 * @param {string} label
 * @param {string} value
 * @param {{secret?: boolean, hint?: string}} [options]
 * @returns {HTMLElement}
 */
export function copyField(label, value, { secret = false, hint = "" } = {}) {
  const id = `value-${(made += 1)}`;
  const input = h("input", {
    id,
    class: "input",
    type: secret ? "password" : "text",
    value,
    readonly: true,
    autocomplete: "off",
    spellcheck: "false",
    "data-value": label,
    "aria-describedby": hint ? `${id}-hint` : null,
    focus: () => input.select(),
  });
  const reveal = h(
    "button",
    {
      class: "button round",
      type: "button",
      "aria-label": `Show ${label.toLowerCase()}`,
      "aria-pressed": "false",
      click: () => {
        const shown = input.type === "text";
        input.type = shown ? "password" : "text";
        reveal.setAttribute("aria-pressed", String(!shown));
      },
    },
    icon("show"),
  );
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h(
      "div",
      { class: "secret" },
      input,
      h(
        "div",
        { class: "row" },
        secret && reveal,
        copyButton(() => value, label),
      ),
    ),
    hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null,
  );
}
