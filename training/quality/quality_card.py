"""The quality card of a preference model: how far its scores can be trusted, and what misleads them. Torch-free.

A card belongs to one principle. The folder of a preference_model stage that trained one principle holds its card as
card.json and its scores as scores.jsonl; that of a shared trunk holds all cards in one card.json, under "cards", and
the scores of each principle in scores/<principle>.jsonl. `card_of` and `scores_of` know which.

Left out: how the accuracy changes with the kind of prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.errors import ModelUnavailable
from training.quality.calibration import (
    accuracy,
    best_temperature,
    calibration_error,
    correlation,
    reliability,
    slope,
    soft_loss,
)
from training.quality.intervals import wilson_interval
from training.run.artifacts import read_json, read_jsonl, write_jsonl

CARD = "card.json"
LEAST_SPREAD = 1e-6
"""The smallest standard deviation: scores that do not vary become 0, not infinite."""


class Scored(NamedTuple):
    """A model's scores of one labelled pair, with what is known of it.

    Attributes:
        raw: scores of `a` and `b`.
        lengths: tokens of the two responses.
        label: the judge's probability that `a` is better, None where this principle has none.
        human: 1 where a person chose `a`, 0 where `b`, None where nobody did.
        held_out: the model did not learn from it.
    """

    raw: tuple[float, float]
    lengths: tuple[int, int]
    label: float | None
    human: float | None
    held_out: bool


def fit_length_bias(pairs: Sequence[Scored]) -> tuple[float, float]:
    """The least-squares slope of the raw score per token of response length, on the training pairs; and the mean
    length."""
    learnt = [pair for pair in pairs if not pair.held_out and pair.label is not None]
    lengths = [float(length) for pair in learnt for length in pair.lengths]
    return slope([score for pair in learnt for score in pair.raw], lengths), sum(lengths) / max(1, len(lengths))


def remove_length_bias(pairs: Sequence[Scored], rise: float, mean: float) -> list[Scored]:
    """The pairs with the linear part of length removed from their raw scores."""
    return [pair._replace(raw=(pair.raw[0] - rise * (pair.lengths[0] - mean), pair.raw[1] - rise * (
        pair.lengths[1] - mean))) for pair in pairs]


def card(pairs: Sequence[Scored]) -> dict[str, Any]:
    """The contents of a card: measured on held-out pairs, except for the mean, the deviation and the lengths.

    `accuracy` is against the judge's labels. `human_agreement` is against people's choices on the `human_n` held-out
    pairs that have one, and `judge_human_agreement` what the judge itself reaches there; absent where there are none.
    """
    judged = [pair for pair in pairs if pair.label is not None]
    learnt = [pair for pair in judged if not pair.held_out]
    unseen = [pair for pair in judged if pair.held_out]
    raw = [score for pair in learnt for score in pair.raw]
    mean = sum(raw) / max(1, len(raw))
    std = max((sum((score - mean) ** 2 for score in raw) / max(1, len(raw))) ** 0.5, LEAST_SPREAD)
    differences = [pair.raw[0] - pair.raw[1] for pair in unseen]
    labels = [pair.label for pair in unseen if pair.label is not None]
    share, decided = accuracy(differences, labels)
    low, high = wilson_interval(share * decided, decided)
    temperature = best_temperature(differences, labels)
    calibrated = [difference / temperature for difference in differences]
    return {
        "mean": mean, "std": std, "trained_on": len(learnt), "held_out": len(unseen),
        "decided": decided, "accuracy": share, "accuracy_low": low, "accuracy_high": high,
        "loss": soft_loss(differences, labels), "calibration_error": calibration_error(differences, labels),
        "temperature": temperature, "calibration_error_at_temperature": calibration_error(calibrated, labels),
        "reliability": reliability(calibrated, labels),
        "length_correlation": correlation(raw, [float(length) for pair in learnt for length in pair.lengths]),
    } | _human_agreement(pairs)


def _human_agreement(pairs: Sequence[Scored]) -> dict[str, Any]:
    chosen = [pair for pair in pairs if pair.held_out and pair.human is not None]
    humans = [pair.human for pair in chosen if pair.human is not None]
    share, n = accuracy([pair.raw[0] - pair.raw[1] for pair in chosen], humans)
    if n == 0:
        return {}
    low, high = wilson_interval(share * n, n)
    labelled = [pair for pair in chosen if pair.label is not None]
    judge, judged = accuracy([(pair.label or 0.0) - 0.5 for pair in labelled],
                             [pair.human for pair in labelled if pair.human is not None])
    agreement = {"human_agreement": share, "human_low": low, "human_high": high, "human_n": n}
    return agreement | ({"judge_human_agreement": judge} if judged else {})


# Where cards and scores are ------------------------------------------------------------------------------------------


def card_of(folder: Path, principle: str) -> dict[str, Any]:
    """The card of a principle in the folder of the stage that serves it. Raises ModelUnavailable."""
    if not (folder / CARD).is_file():
        raise ModelUnavailable("The folder of a preference model holds no card.json.", "Train it again.")
    content: dict[str, Any] = read_json(folder / CARD)
    if "cards" not in content:
        return content
    if principle not in content["cards"]:
        raise ModelUnavailable(f"The trunk has no head for '{principle}': it scores {', '.join(content['cards'])}.",
                               "Train it again with this principle.")
    principle_card: dict[str, Any] = content["cards"][principle]
    return principle_card


def scores_of(folder: Path, principle: str) -> Iterator[dict[str, Any]]:
    """The standardised scores of a principle's labelled pairs: `pair`, `z_a`, `z_b`, `human`, `held_out`."""
    shared = folder / "scores" / f"{principle}.jsonl"
    return read_jsonl(shared if shared.is_file() else folder / "scores.jsonl")


def write_scores(path: Path, digests: Sequence[str], pairs: Sequence[Scored], mean: float, std: float) -> None:
    """Write what `scores_of` reads: one row per pair."""
    write_jsonl(path, (
        {"pair": digest, "z_a": (pair.raw[0] - mean) / std, "z_b": (pair.raw[1] - mean) / std, "human": pair.human,
         "held_out": pair.held_out} for digest, pair in zip(digests, pairs, strict=True)))


def score_correlations(folders: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """How similar the preferences of principles are: correlation of z_a - z_b over the pairs that all have, by
    principle and principle.

    Args:
        folders: by principle, the folder of the stage that serves it.
    """
    differences = {name: {row["pair"]: row["z_a"] - row["z_b"] for row in scores_of(folder, name)}
                   for name, folder in folders.items()}
    shared = [pair for pair in next(iter(differences.values()), {}) if all(pair in d for d in differences.values())]
    columns = {name: [by_pair[pair] for pair in shared] for name, by_pair in differences.items()}
    return {name: {other: correlation(first, second) for other, second in columns.items() if other != name}
            for name, first in columns.items()}
