/**
 * Where a message is written: a field, a button, and under them why it was not taken.
 */

import { h, icon, put } from "../lib/dom.js";

/**
 * @param {{label: string, placeholder: string, most: number, send: (text: string) => Promise<void>, refusal: (error: any) => string}} options
 * @returns {{form: HTMLFormElement, input: HTMLInputElement, note: HTMLElement}}
 */
export function composer({ label, placeholder, most, send, refusal }) {
  const input = h("input", {
    class: "input",
    "aria-label": label,
    placeholder,
    maxlength: most,
    autocomplete: "off",
    enterkeyhint: "send",
    name: "message",
  });
  const button = h("button", { class: "button primary round", type: "submit", "aria-label": "Send" }, icon("send"));
  const note = h("p", { class: "composer-note small", role: "alert" });
  const form = h(
    "form",
    {
      class: "composer",
      submit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        const text = input.value.trim();
        if (text === "" || button.disabled) return;
        button.disabled = true;
        input.value = "";
        try {
          await send(text);
          put(note, "");
        } catch (error) {
          put(note, refusal(error));
          if (input.value === "") input.value = text; // nothing that somebody wrote is lost
        } finally {
          button.disabled = false;
          input.focus();
        }
      },
    },
    h("div", { class: "composer-row" }, input, button),
    note,
  );
  return { form, input, note };
}
