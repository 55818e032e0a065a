/**
 * The form that makes a stream.
 */

import { ApiError } from "../lib/api.js";
import { h } from "../lib/dom.js";
import * as streams from "../lib/streams.js";

const VISIBILITIES = [
  ["public", "Public", "listed, open to everyone"],
  ["unlisted", "Unlisted", "open to everyone with the link"],
  ["private", "Private", "only you and those you allow"],
];

/**
 * @param {(made: streams.Stream & streams.StreamKey) => void} done
 * @returns {HTMLElement}
 */
export function createForm(done) {
  const title = h("input", {
    id: "title",
    name: "title",
    class: "input",
    required: true,
    maxlength: 200,
    autocomplete: "off",
    placeholder: "Sunday morning music",
    "aria-describedby": "title-error",
  });
  const titleError = h("p", { class: "error", id: "title-error", role: "alert", hidden: true });
  const description = h("textarea", {
    id: "description",
    name: "description",
    class: "input",
    maxlength: 5000,
    placeholder: "What will people see?",
  });
  const tags = h("input", {
    id: "tags",
    name: "tags",
    class: "input",
    maxlength: 400,
    autocomplete: "off",
    placeholder: "music, piano",
    "aria-describedby": "tags-hint",
  });
  const choices = h(
    "fieldset",
    { class: "choices" },
    h("legend", {}, "Who may watch"),
    ...VISIBILITIES.map(([value, label, hint], i) =>
      h("label", { title: hint }, h("input", { type: "radio", name: "visibility", value, checked: i === 0 }), label),
    ),
  );
  const note = h("p", { class: "hint soft small" }, VISIBILITIES[0][2]);
  choices.addEventListener("change", () => {
    note.textContent = VISIBILITIES.find(([value]) => value === chosen())?.[2] ?? "";
  });
  const chosen = () => String(new FormData(form).get("visibility"));
  const button = h("button", { class: "button primary", type: "submit", id: "create" }, "Create stream");
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  /** @type {HTMLFormElement} */
  const form = h(
    "form",
    {
      class: "sheet stack",
      id: "create-form",
      submit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        button.disabled = true;
        titleError.hidden = trouble.hidden = true;
        title.removeAttribute("aria-invalid");
        try {
          done(
            await streams.create({
              title: title.value.trim(),
              description: description.value.trim(),
              tags: words(tags.value),
              visibility: chosen(),
            }),
          );
        } catch (error) {
          refused(error);
        } finally {
          button.disabled = false;
        }
      },
    },
    h("h2", {}, "New stream"),
    h("div", { class: "field" }, h("label", { for: "title" }, "Title"), title, titleError),
    h(
      "div",
      { class: "field" },
      h("label", { for: "description" }, "Description ", h("span", { class: "soft" }, "(optional)")),
      description,
    ),
    h(
      "div",
      { class: "field" },
      h("label", { for: "tags" }, "Tags ", h("span", { class: "soft" }, "(optional)")),
      tags,
      h("p", { class: "hint", id: "tags-hint" }, "Separated by commas."),
    ),
    h("div", {}, choices, note),
    trouble,
    h("div", {}, button),
  );

  /** @param {unknown} error */
  function refused(error) {
    const field =
      error instanceof ApiError ? error.fields.find(({ pointer }) => pointer.endsWith("/title")) : undefined;
    const place = field ? titleError : trouble;
    place.textContent = field?.detail ?? (error instanceof Error ? error.message : "The stream could not be made.");
    place.hidden = false;
    if (!field) return;
    title.setAttribute("aria-invalid", "true");
    title.focus();
  }
  return form;
}

/** @param {string} text @returns {string[]} */
const words = (text) => [
  ...new Set(
    text
      .split(",")
      .map((word) => word.trim())
      .filter(Boolean),
  ),
];
