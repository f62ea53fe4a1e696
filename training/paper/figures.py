"""The five figures of the paper, drawn from results. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.paper import published
from training.paper.drawing import Mark, Point, line, matrix, whiskers

NAMES = ("preference_models", "objectives", "win_rates", "agreement", "ablation")


def figures(results: Mapping[str, Any]) -> dict[str, str]:
    """SVG text by figure's name, in the paper's order."""
    drawings = (preference_models, objectives, win_rates, agreement, ablation)
    return {name: draw(results) for name, draw in zip(NAMES, drawings, strict=True)}


def preference_models(results: Mapping[str, Any]) -> str:
    """Figure 1: accuracy of each preference model on its own held-out labels."""
    arms = {"linear": "", "single_pm": " (drawn labels)", "pooled_pm": " (pooled labels)"}
    arms |= {arm["arm"]: f" ({arm['title']})" for arm in results["small_models"] if arm["arm"] != "linear"}
    points = [Point(f"{row['model']}{arms[row['arm']]}", row["value"], row["low"], row["high"], row["arm"] == "linear")
              for row in results["preference_models"]]
    marks = [Mark(f"paper: from the worst principle with GPT-2-medium to the best with Llama-2-7b, "
                  f"{published.span((published.WORST_PM[0], published.BEST_PM[-1]))}",
                  published.WORST_PM[0], published.BEST_PM[-1])]
    return whiskers("1. Preference models against their own labels, held-out pairs", points, marks, floor=0.4)


def objectives(results: Mapping[str, Any]) -> str:
    """Figure 2: accuracy of each objective's reward against the overall choice, and the ceiling."""
    rows = results["objectives"]["objectives"]
    points = [Point(row["title"], row["value"], row["low"], row["high"], row["group"] == "scalarization")
              for row in rows]
    ceiling = results["objectives"]["ceiling"]
    points.append(Point("ceiling: perfect PMs", ceiling["value"], ceiling["low"], ceiling["high"]))
    marks = [Mark(f"paper: linear, {published.span(published.LINEAR)}; ceiling {100 * published.CEILING:.1f} %",
                  min(published.LINEAR), max(published.LINEAR))]
    return whiskers("2. The reward of each objective against the overall choice, held-out pairs", points, marks,
                    floor=0.4)


def win_rates(results: Mapping[str, Any]) -> str:
    """Figure 3: the win rate of each policy over each other."""
    win_matrix = results["win_matrix"]
    names = win_matrix["names"]

    def cell(i: int, j: int) -> float | None:
        return None if i == j else float(win_matrix["cells"][names[i]][names[j]]["value"])

    seeds = len(results["settings"]["seeds"])
    titles = [win_matrix["titles"][name] for name in names]
    return matrix("3. Win rate of the row's policy over the column's, in %", titles, cell,
                  f"The judge's choice all in all, {seeds} seeds; a cell and its mirror sum to 100.")


def agreement(results: Mapping[str, Any]) -> str:
    """Figure 4: how often two principles' labels name the same response."""
    labels = results["agreement"]
    names = labels["names"]
    return matrix("4. Agreement of the labels of two principles, in %", names,
                  lambda i, j: None if i == j else float(labels["cells"][names[i]][names[j]]["value"]),
                  "Pairs on which both labels are decided.")


def ablation(results: Mapping[str, Any]) -> str:
    """Figure 5: accuracy by the number of principles dropped."""
    points = [Point(str(row["dropped"]), row["value"], row["low"], row["high"]) for row in results["ablation"]]
    start, end = published.ABLATION
    return line("5. Accuracy as principles are dropped", points, "principles dropped; band: best and worst order",
                [Mark(f"paper: {100 * start:.0f} % with all twelve, {100 * end:.0f} % with one left (Llama-2-7b)",
                      start, end)])
