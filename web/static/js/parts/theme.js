/**
 * The button that changes between dark and light.
 */

import { must } from "../lib/dom.js";

/** Wires the header's button; the choice is kept for the next visit. */
export function wireTheme() {
  must("#theme").addEventListener("click", () => {
    const root = document.documentElement;
    const shown = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
    root.dataset.theme = shown === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("nova.theme", root.dataset.theme);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
  });
}
