"""The paper's three claims, tested on the results: each with its rule, written before the numbers. Torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from training.paper.published import FUNCTIONS_AMONG_THEMSELVES

Held = Literal["held", "not held here", "undecided", "not tested"]


class ClaimVerdict(NamedTuple):
    """The outcome for a claim: the rule that decides and the numbers it was applied to."""

    claim: str
    held: Held
    rule: str
    numbers: str


def verdicts(results: Mapping[str, Any]) -> list[ClaimVerdict]:
    """The verdicts on results as `report.results` makes them."""
    return [_multi_beats_single(results), _small_aligns_large(results), _function_hardly_matters(results)]


def share_text(share: Mapping[str, Any]) -> str:
    """'71.2 % (65.0 to 77.1, n = 900; seeds 70, 71, 73)'."""
    seeds = ", ".join(f"{100 * rate:.0f}" for rate in share.get("by_seed", ()))
    tail = f"; seeds {seeds}" if seeds else ""
    interval = f"{100 * share['low']:.1f} to {100 * share['high']:.1f}"
    return f"{100 * share['value']:.1f} % ({interval}, n = {share['n']}{tail})"


def _above_a_half(share: Mapping[str, Any]) -> Held:
    every = share.get("by_seed") or [share["value"]]
    if share["low"] > 0.5 and min(every) > 0.5:
        return "held"
    return "not held here" if share["high"] < 0.5 and max(every) < 0.5 else "undecided"


def _multi_beats_single(results: Mapping[str, Any]) -> ClaimVerdict:
    cells = results["win_matrix"]["cells"]["linear"]
    share = cells["single_pm"]
    numbers = [f"linear over the single PM {share_text(share)}"]
    numbers.append(f"over the pooled PM, which learnt from all labels, {share_text(cells['pooled_pm'])}")
    alone = [name for name, group in results["win_matrix"]["groups"].items() if group == "single principle"]
    if alone:
        strongest = min(alone, key=lambda name: cells[name]["value"])
        title = results["win_matrix"]["titles"][strongest]
        numbers.append(f"over the strongest single principle ({title}) {share_text(cells[strongest])}")
    return ClaimVerdict("Many preference models beat single-objective RLAIF.", _above_a_half(share),
                   "Held if the interval of the linear policy's win rate over the single PM, and each seed, is above "
                   "50 %; not held if all are below.", "; ".join(numbers) + ".")


def _small_aligns_large(results: Mapping[str, Any]) -> ClaimVerdict:
    claim = "Small preference models can align a larger policy."
    rule = ("Held if a policy trained on preference models smaller than itself beats its own base: interval and each "
            "seed above 50 %; not held if all such policies lose to it.")
    arms = results["small_models"]
    if not arms:
        return ClaimVerdict(claim, "not tested", rule,
                            "This recipe's preference models are no smaller than its policy.")
    numbers, outcomes = [], []
    for arm in arms:
        share = results["against_base"][arm["arm"]]
        outcomes.append(_above_a_half(share))
        text = f"{arm['models']:,} parameters for a policy of {arm['policy']:,}: {share_text(share)} over its base"
        if arm["arm"] != "linear":
            over_linear = results["win_matrix"]["cells"][arm["arm"]]["linear"]
            text += f", {share_text(over_linear)} over models of the policy's size"
        numbers.append(text)
    outcome: Held = "held" if "held" in outcomes else "undecided" if "undecided" in outcomes else "not held here"
    return ClaimVerdict(claim, outcome, rule, "; ".join(numbers) + ".")


def _function_hardly_matters(results: Mapping[str, Any]) -> ClaimVerdict:
    low, high = FUNCTIONS_AMONG_THEMSELVES
    matrix = results["win_matrix"]
    names = [name for name, group in matrix["groups"].items() if group == "scalarization"]
    cells = [(first, second, matrix["cells"][first][second]) for first, second in itertools.combinations(names, 2)]
    outside = [cell for cell in cells if cell[2]["low"] > high or cell[2]["high"] < low]
    inside = all(low <= share["value"] <= high for *_, share in cells)
    outcome: Held = "not held here" if outside else "held" if inside else "undecided"
    first, second, furthest = max(cells, key=lambda cell: abs(cell[2]["value"] - 0.5))
    if furthest["value"] < 0.5:
        first, second, furthest = second, first, matrix["cells"][second][first]
    titles = matrix["titles"]
    numbers = (f"{len(cells)} pairs of functions, {len(outside)} of them wholly outside; the furthest is "
               f"{titles[first]} over {titles[second]}, {share_text(furthest)}")
    return ClaimVerdict("The scalarization function hardly matters.", outcome,
                   f"Held if every win rate among the seven is within {100 * low:.0f} to {100 * high:.0f} %, as the "
                   "paper's are; not held if an interval lies wholly outside.", numbers + ".")
