"""Writes `bench/results/report.md` and its plots from the result files."""

import json
from pathlib import Path
from typing import Any

from bench.method.results import RESULTS

WORDS = {"reached": "reached", "tie": "within the spread", "missed": "**not reached**"}
COLOURS = {"reached": "#2f855a", "tie": "#b7791f", "missed": "#c53030"}


def load(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")) if path.name != "schema.json"]


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(found: dict[str, float] | None) -> str:
    return f"{number(found['median'])} ({number(found['low'])} … {number(found['high'])})" if found else "-"


def goal_of(result: dict[str, Any], name: str) -> str:
    bound = result["summary"]["checks"][name]["bound"]
    if name == "ratio":
        return f"{'≥' if result['better'] == 'higher' else '≤'} {bound:g} x anchor"
    return f"{name.replace('_', ' ')} ≤ {bound:g}"


def table(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| question | figure | anchor | ours | goal | found | |", "|---|---|---|---|---|---|---|"]
    for result in results:
        summary = result["summary"]
        anchor = f"{spread(summary['anchor'])}" if summary["anchor"] else "-"
        for i, (name, check) in enumerate(summary["checks"].items()):
            row = [f"[{result['asks']}](#{result['name']})", result["figure"], anchor, spread(summary["ours"])] if i == 0 else [""] * 4
            row += [goal_of(result, name), spread(check["found"]), WORDS[check["verdict"]]]
            lines.append("| " + " | ".join(row) + " |")
    return lines


def details(result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    lines = [f"### {result['name']}", "", f"{result['asks']}", ""]
    lines.append(f"{result['ours']} beside {result['anchor'] or 'a fixed bound'}; {len(result['pairs'])} pairs, {result['measured_at']}.")
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']}, Python {machine['python']}.")
    lines += ["", f"![{result['name']}](plots/{result['name']}.svg)", ""]
    names = sorted({name for pair in result["pairs"] for side in pair.values() if side for name in side["also"]})
    sides = [side for side in ("anchor", "ours") if any(pair[side] for pair in result["pairs"])]
    lines += ["| | " + " | ".join(sides) + " |", "|---|" + "---|" * len(sides)]
    for label, read in [(result["figure"], lambda side: side["figure"])] + [
        (name.replace("_", " "), lambda side, name=name: side["also"].get(name)) for name in names
    ]:
        cells = []
        for side in sides:
            values = sorted(value for pair in result["pairs"] if pair[side] and (value := read(pair[side])) is not None)
            cells.append(f"{number(values[len(values) // 2])} ({number(values[0])} … {number(values[-1])})" if values else "-")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def plot(result: dict[str, Any], path: Path) -> None:
    """Every run as a dot: what the medians are medians of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.7), layout="constrained")
    axes = figure.subplots()
    sides = [side for side in ("anchor", "ours") if any(pair[side] for pair in result["pairs"])]
    colour = {"anchor": "#718096", "ours": COLOURS[result["summary"]["verdict"]]}
    for at, side in enumerate(sides):
        values = [pair[side]["figure"] for pair in result["pairs"] if pair[side]]
        axes.plot(values, [at] * len(values), "o", color=colour[side], alpha=0.7, markersize=6)
        axes.plot([result["summary"][side]["median"]] * 2, [at - 0.3, at + 0.3], color=colour[side], linewidth=2)
    if result["goal"] and result["summary"]["anchor"]:
        goal = result["goal"] * result["summary"]["anchor"]["median"]
        axes.axvline(goal, color="#2b6cb0", linestyle="--", linewidth=1, label=f"{result['goal']:g} x anchor")
        axes.legend(loc="upper right", fontsize=7, frameon=False)
    axes.set_yticks(range(len(sides)), [result["anchor"] if side == "anchor" else "ours" for side in sides], fontsize=8)
    axes.set_ylim(len(sides) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(result["figure"], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def overview(results: list[dict[str, Any]], path: Path) -> None:
    """How far every check is from its goal: 1 is the goal, right of it is better."""
    from matplotlib.figure import Figure

    rows = []
    for result in results:
        for name, check in result["summary"]["checks"].items():
            upper = name != "ratio" or result["better"] == "lower"
            found, bound = check["found"], check["bound"]
            values = [bound / found[key] if upper else found[key] / bound for key in ("median", "low", "high") if found[key]]
            if len(values) == 3:
                rows.append((f"{result['name']}{'' if name == 'ratio' else ' ' + name}", values, check["verdict"]))
    if not rows:
        return
    figure = Figure(figsize=(8, 0.9 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for at, (_, (median, *ends), verdict) in enumerate(rows):
        axes.plot([min(ends), max(ends)], [at, at], color=COLOURS[verdict], linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(median, at, "o", color=COLOURS[verdict])
    axes.axvline(1, color="#2b6cb0", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlabel("times better than the goal", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def write_report(folder: Path = RESULTS) -> Path:
    """The path of the report. Old plots of benchmarks that are gone are removed."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "nova"  # the same results give the same file
    results = load(folder)
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for old in plots.glob("*.svg"):
        old.unlink()
    overview(results, plots / "overview.svg")
    lines = ["# Benchmark results", "", "Generated by `make bench`; [how they are measured](../../docs/benchmarks.md).", ""]
    lines.append("Medians, in brackets the middle half of the runs. Ratios are ours / anchor, pair by pair.")
    lines += ["", "![how far from the goals](plots/overview.svg)", "", *table(results), ""] if results else ["", "None yet.", ""]
    for result in results:
        plot(result, plots / f"{result['name']}.svg")
        lines += details(result)
    path = folder / "report.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
