"""The report: results.json, five figures and report.md, all from the numbers of one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config.paper_experiment import has_small_models
from training.paper import published
from training.paper.figures import NAMES, figures
from training.paper.measures import (
    Experiment,
    ablation,
    against_base,
    agreement,
    model_accuracies,
    objective_accuracies,
    read_pairs,
    win_matrix,
)
from training.paper.small_base import sizes
from training.paper.verdicts import ClaimVerdict, share_text, verdicts
from training.run.artifacts import write_json, write_text

BASELINES = ("linear", "single_pm", "pooled_pm")
READINGS = {
    "preference_models": "Share of decided held-out labels whose side a preference model takes, with Wilson's 95 % "
                         "interval. The band is the paper's; its judge and its text are others.",
    "objectives": "Share of held-out pairs on which the reward of an objective is on the side of the overall choice. "
                  "The ceiling is the linear objective on the labels themselves.",
    "win_rates": "Every policy against every other on the same held-out prompts, by the judge, all in all.",
    "agreement": "Share of pairs on which the labels of two principles, or a principle's and the overall choice, name "
                 "the same response; 50 % is chance, less is a conflict.",
    "ablation": "Principles are dropped one by one in many orders, the weights fitted again each time by logistic "
                "regression on the pairs that the models learnt from; accuracy on the held-out ones.",
}

COUNTED = """## How it was counted

A baseline has the pairs, the judge, the prompt, the loss, the training and the seeds of the multi-objective run. The
single PM learns from one principle's label per pair, drawn by weight: as many labels as any other preference model, but
K times fewer than the multi-objective run paid for. The pooled PM therefore learns from all of them.

Win rates count a tie as half. Their intervals resample seeds and prompts (two-way bootstrap); with {seeds} seeds they
are somewhat too narrow, so that the rate of each seed is shown as well. A verdict follows the rule that stands with it,
which was written before the numbers."""


def results(experiment: Experiment) -> dict[str, Any]:
    """Every number of the report, as results.json holds them."""
    pairs = read_pairs(experiment)
    names = [arm.name for arm in experiment.arms]
    recipe = experiment.arms[0].recipe
    return {
        "settings": {"seeds": list(experiment.seeds), "phases": recipe.ppo.steps, "rollouts": recipe.ppo.batch_size,
                     "principles": recipe.weights_by_name, "judge": recipe.judge.model or recipe.judge.kind,
                     "policy": recipe.policy.base, "preference_models": recipe.preference_model.base,
                     "pairs": len(pairs.digests), "held_out_pairs": int(pairs.held_out.sum()),
                     "runs": len(names) * len(experiment.seeds)},
        "preference_models": model_accuracies(experiment, [
            arm.name for arm in experiment.arms if arm.name in BASELINES or arm.group == "small models"]),
        "objectives": objective_accuracies(experiment, pairs),
        "win_matrix": win_matrix(experiment),
        "agreement": agreement(experiment, pairs),
        "ablation": ablation(experiment, pairs),
        "against_base": against_base(experiment),
        "small_models": _small_models(experiment),
    }


def _small_models(experiment: Experiment) -> list[dict[str, Any]]:
    """The arms whose preference models are smaller than their policy, with both sizes."""
    rows = []
    for arm in experiment.arms:
        if arm.group == "small models" or (arm.name == "linear" and has_small_models(arm.recipe)):
            model_sizes = sizes(arm.recipe.preference_model.base, arm.recipe.policy.base)
            if model_sizes.models < model_sizes.policy:
                rows.append({"arm": arm.name, "title": arm.title, **model_sizes._asdict()})
    return rows


def write_report(measured: Mapping[str, Any], out: Path, command: str, minutes: float,
                 docs: Path | None = None) -> None:
    """Write results.json, figures/*.svg and report.md into `out`, and the page and its pictures into `docs`."""
    claims = verdicts(measured)
    write_json(out / "results.json", {**measured, "verdicts": [claim._asdict() for claim in claims]})
    svg_texts = figures(measured)
    places = [(out / "report.md", out / "figures", "figures")]
    if docs is not None:
        places.append((docs / "paper.md", docs / "images" / "paper", "images/paper"))
    for page, folder, prefix in places:
        for name, text in svg_texts.items():
            write_text(folder / f"{name}.svg", text)
        write_text(page, text_of(measured, claims, command, minutes, prefix))


def text_of(measured: Mapping[str, Any], claims: Sequence[ClaimVerdict], command: str, minutes: float,
            prefix: str) -> str:
    """The report in Markdown; pictures are named under `prefix`."""
    settings = measured["settings"]
    weights = ", ".join(f"{name} {weight:+.2f}" for name, weight in settings["principles"].items())
    parts = [
        "# The paper, reproduced",
        "What came out when the experiments of MORLAIF ([arXiv 2406.07295](https://arxiv.org/abs/2406.07295)) were "
        "done again by one command, whether it agrees with the paper or not:",
        f"    {command}",
        f"{settings['runs']} policies of {settings['phases']} PPO phases of {settings['rollouts']} rollouts, seeds "
        f"{', '.join(map(str, settings['seeds']))}; policy `{settings['policy']}`, preference models on "
        f"`{settings['preference_models']}`, judge `{settings['judge']}`; weights {weights}. All share "
        f"{settings['pairs']} labelled pairs, {settings['held_out_pairs']} of them held out, "
        "their labels and their preference models. The "
        f"stages took {minutes:.0f} minutes, counted one after another. `results.json` in `DIR` holds every number.",
        "## The three claims",
        *(f"**{claim.claim}** *{claim.held.capitalize()}.* {claim.numbers[0].upper()}{claim.numbers[1:]} {claim.rule}"
          for claim in claims),
        "## Beside the published numbers",
        "The paper's models, texts and judge are others, so that its numbers are a yardstick and not a target. Ours "
        "have their 95 % interval.",
        _table(("measure", "here", "published"), _published_rows(measured)),
        "## The five figures",
        *(f"![Figure {number}]({prefix}/{name}.svg)\n\n{READINGS[name]}" for number, name in enumerate(NAMES, 1)),
        "## Every policy against its base",
        _table(("policy", "win rate", *settings["principles"], "KL, nats"), _policies(measured)),
        COUNTED.format(seeds=len(settings["seeds"])),
    ]
    return "\n\n".join(parts) + "\n"


def _published_rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    models = [row for row in measured["preference_models"] if row["arm"] == "linear"]
    worst, best = (pick(models, key=lambda row: row["value"]) for pick in (min, max))
    objectives = {row["arm"]: row for row in measured["objectives"]["objectives"]}
    matrix = measured["win_matrix"]
    functions = [name for name, group in matrix["groups"].items() if group == "scalarization"]
    over = [matrix["cells"][name]["single_pm"] for name in functions]
    among = [matrix["cells"][first][second] for first in functions for second in functions if first != second]
    dropped = measured["ablation"]
    rows: list[tuple[str, ...]] = [
        (f"PM accuracy, worst principle ({worst['model']})", share_text(worst), published.span(published.WORST_PM)),
        (f"PM accuracy, best principle ({best['model']})", share_text(best), published.span(published.BEST_PM)),
        ("combined reward, linear", share_text(objectives["linear"]), published.span(published.LINEAR)),
        ("combined reward, single PM", share_text(objectives["single_pm"]), published.span(published.SINGLE_PM)),
        ("combined reward, ceiling", share_text(measured["objectives"]["ceiling"]), f"{100 * published.CEILING:.1f} %"),
        ("win rate, linear over single PM", share_text(matrix["cells"]["linear"]["single_pm"]),
         published.span(published.MULTI_OVER_SINGLE)),
        ("win rate, each function over single PM", _spread(over), published.span(published.FUNCTION_OVER_SINGLE)),
        ("win rate, functions among themselves", _spread(among), published.span(published.FUNCTIONS_AMONG_THEMSELVES)),
        (f"accuracy, all {len(dropped)} principles to the last one",
         f"{100 * dropped[0]['value']:.1f} to {100 * dropped[-1]['value']:.1f} %",
         f"{100 * published.ABLATION[0]:.0f} to {100 * published.ABLATION[1]:.0f} %"),
    ]
    cells = measured["agreement"]["cells"]
    rows += [(f"agreement, {first} and {second}", share_text(cells[first][second]), f"{100 * share:.0f} %")
             for (first, second), share in published.AGREEMENT.items() if first in cells and second in cells]
    return rows


def _spread(shares: Sequence[Mapping[str, Any]]) -> str:
    low, high = (pick(share["value"] for share in shares) for pick in (min, max))
    outer = min(share["low"] for share in shares), max(share["high"] for share in shares)
    return f"{100 * low:.1f} to {100 * high:.1f} % (intervals from {100 * outer[0]:.1f} to {100 * outer[1]:.1f})"


def _policies(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(row["title"], share_text(row), *(f"{100 * share['value']:.0f} %" for share in row["principles"].values()),
             f"{sum(row['kl']) / len(row['kl']) + 0.0:.2f}") for row in measured["against_base"].values()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


