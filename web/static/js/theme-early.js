/**
 * Runs before the first paint, hence not a module: a chosen theme must not flash the other one first.
 */
(() => {
  try {
    const chosen = localStorage.getItem("nova.theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the system's theme it is.
  }
})();
