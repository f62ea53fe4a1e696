"""The weight of each principle: as set by a person, or fitted to human choices. Torch-free.

Fitted (arXiv 2406.07295): logistic regression of the choice on the difference of standardised scores, each row mirrored
with its sign flipped, so that no intercept is needed. Fitted weights are valid for these scores only. A weight whose
sign differs from the given one causes a warning: people may well prefer a principle's vice. How far the weights can be
trusted is reported with them, see `training.quality.weight_fit`.

Where a measure is the reward itself, this stage measures the run's pairs: the mean and the standard deviation are its
scale in every later stage, and the scores take part in the fit.

This stage reads the cards of all preference models, and PPO starts after it: so it is here that models which are no
better than a coin stop the run (`training.quality.chance`), unless `stop_at_chance` of the job's runtime is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.errors import BadData, NoBetterThanCoin
from training.measures.scale import SafeMeasure, Scale, scale_of
from training.quality.chance import chance_problem
from training.quality.quality_card import CARD, card_of, score_correlations, scores_of
from training.quality.weight_fit import ablation, fit, intervals
from training.run.artifacts import Job, read_jsonl, write_json
from training.run.references import references_of
from training.run.reporting import Reporter

Scores = dict[str, dict[str, dict[str, Any]]]
"""By principle and digest of the pair, a row as `quality_card.scores_of` gives it."""

STOP_EVERY = 1000  # pairs measured between two chances to stop

LEAST_HELD_OUT = 50
"""With fewer held-out choices than this, the weights are fitted to all choices instead."""


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write weights.json: `weights` (shares, sum of absolute values 1), `mode`, `n` (choices used), `rows`, and
    `correlations` of the principles' score differences, by principle and principle; fitted ones also have 95%
    `intervals` by principle, and an `ablation`; principles that are rewarded by a measure have `scales`: `mean` and
    `std` by name.

    Raises:
        BadData: weights are to be fitted and there are no human choices, or they hold no information; or a measure has
            no number for most responses of the pairs, or the same for all.
        NoBetterThanCoin: the preference models do no better than a coin.
    """
    given_weights: dict[str, float] = job.settings["given"]
    _check_models(job, list(given_weights), reporter)
    mode = job.settings["weights"]["mode"]
    result: dict[str, Any] = {"mode": mode, "n": 0, "rows": "none", "given": _shares(given_weights)}
    scales, measured = _measured(job, reporter)
    if scales:
        result["scales"] = {name: scale._asdict() for name, scale in scales.items()}
    if mode == "set":
        result["weights"] = result["given"]
    else:
        differences, choices, result["rows"] = _choices(job, list(given_weights), measured)
        fitted = fit(differences, choices)
        result |= {"weights": _shares(dict(zip(given_weights, fitted, strict=True))), "n": len(choices)}
        result |= _trust(list(given_weights), differences, choices, reporter)
        for name, weight in result["weights"].items():
            if weight * given_weights[name] < 0:
                reporter.warning("sign_flip", f"The fitted weight of {name} is {weight:+.2f} and was given as "
                                 f"{given_weights[name]:+.2f}: people chose against it. Look before you train on it.")
    result["correlations"] = score_correlations({name: job.inputs[role] for name in given_weights
                                                 if (role := f"preference_model:{name}") in job.inputs})
    write_json(folder / "weights.json", result)
    reporter.metric(0, {f"weights/{name}": weight for name, weight in result["weights"].items()})
    reporter.artifact("weights", "weights.json")


def _check_models(job: Job, names: list[str], reporter: Reporter) -> None:
    """Raises NoBetterThanCoin; where the check is off, it warns instead."""
    folders = {name: job.inputs[role] for name in names if (role := f"preference_model:{name}") in job.inputs}
    cards = {name: card_of(folder, name) for name, folder in folders.items() if (folder / CARD).is_file()}
    problem = chance_problem(cards)
    if problem is None:
        return
    if job.runtime.get("stop_at_chance", True):
        raise NoBetterThanCoin(
            f"{problem.cause} PPO would train the policy on noise.",
            "Ask another judge, word the principle otherwise, or label more pairs ('judge.max_pairs'); or go on all "
            "the same with 'preference_model.stop_at_chance: false'. Labels and models are kept.")
    reporter.warning("at_chance", f"{problem.cause} The run goes on, as 'preference_model.stop_at_chance' is off.")


def _trust(names: list[str], differences: list[list[float]], choices: list[float], reporter: Reporter) -> (
        dict[str, Any]):
    """`intervals` of the weights and the `ablation`; a stop takes effect between two fits."""
    def between() -> None:
        reporter.checkpoint_if_stopped(lambda: None)

    weight_intervals = dict(zip(names, intervals(differences, choices, between=between), strict=True))
    for name, (low, high) in weight_intervals.items():
        if low < 0 < high:
            reporter.log(f"the weight of {name} could have either sign: 95% from {low:+.2f} to {high:+.2f}")
    return {"intervals": weight_intervals, "ablation": ablation(names, differences, choices, between=between)}


def _measured(job: Job, reporter: Reporter) -> tuple[dict[str, Scale], Scores]:
    """The scale of each principle that is rewarded by its measure, and its scores of the pairs in which both responses
    have a number. No model learnt from them, so that they are not held out either: `held_out` is None."""
    measures: dict[str, Any] = job.settings.get("measured_rewards", {})
    if not measures:
        return {}, {}
    pairs = list(read_jsonl(job.files.get("pairs") or job.inputs["sample"] / "pairs.jsonl"))
    reference_of = references_of(job)
    scales, scores = {}, {}
    for name, settings in measures.items():
        measure = SafeMeasure(name, settings, lambda sentence: reporter.warning(
            "measure_failed", f"{sentence} It is left out of the scale."), reference_of)
        values = []
        for number, pair in enumerate(pairs):
            if number % STOP_EVERY == 0:
                reporter.checkpoint_if_stopped(lambda: None)
            values.append((measure(pair["prompt"], pair["a"]), measure(pair["prompt"], pair["b"])))
        scale = scales[name] = scale_of(name, [value for both in values for value in both])
        scores[name] = {pair["digest"]: {
            "z_a": scale.standardised(a, measure.toward), "z_b": scale.standardised(b, measure.toward),
            "human": pair.get("human"), "held_out": None}
            for pair, (a, b) in zip(pairs, values, strict=True) if a is not None and b is not None}
        reporter.log(f"{name} measures {scale.mean:.4g} on average on the responses of the pairs, with a standard "
                     f"deviation of {scale.std:.4g}")
    return scales, scores


def _choices(job: Job, names: list[str], measured: Scores) -> tuple[list[list[float]], list[float], str]:
    """Differences [rows, principles] and choices [rows] of the pairs that a person chose between."""
    modelled = [name for name in names if name not in measured]
    scores = measured | {name: {row["pair"]: row for row in scores_of(job.inputs[f"preference_model:{name}"], name)}
                         for name in modelled}
    shared = [pair for pair in scores[names[0]] if all(pair in scores[name] for name in names)]
    chosen = [pair for pair in shared if scores[names[0]][pair]["human"] is not None]
    if not chosen:
        raise BadData("Weights cannot be fitted: no pair of this data carries a person's choice.",
                      "Choose data with chosen and rejected responses and 'sample.pairs: dataset', or set the weights.")
    unseen = [pair for pair in chosen if any(scores[name][pair].get("held_out") for name in modelled[:1])]
    rows = "held_out" if len(unseen) >= LEAST_HELD_OUT else "all"
    used = unseen if rows == "held_out" else chosen
    differences = [[scores[name][pair]["z_a"] - scores[name][pair]["z_b"] for name in names] for pair in used]
    return differences, [float(scores[names[0]][pair]["human"]) for pair in used], rows


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(abs(weight) for weight in weights.values())
    if total == 0:
        raise BadData("The fitted weights are all zero: the scores tell nothing about the choices.",
                      "Look at the preference models' accuracy, or set the weights.")
    return {name: weight / total for name, weight in weights.items()}
