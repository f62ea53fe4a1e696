"""Whether labels can be learnt at all, seen on every label: models that each leave out a part of the pairs. Torch-free.

Held out are 15 % of the pairs by default, of 600 labels 90; and those of a judge that is right in 60 % of its answers
contradict even a model that learnt the truth from them. Where so few labels leave it open whether a model learnt
anything, the pairs are cut into `FOLDS` parts by prompt, a model is trained without each part and scored on it, and the
agreement is counted over all pairs. Every score is one of a model that never saw the prompt.

Left out: looking closer where the held-out labels already tell, which they do for every model of any use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from training.quality.calibration import DECIDED, accuracy
from training.quality.chance import LEAST
from training.quality.intervals import wilson_interval
from training.run.artifacts import digest_of, read_json, write_json

FOLDS = 4

ENOUGH = 500
"""Decided held-out labels; with as many the interval is narrow enough and no more models are trained."""


class Labelled(Protocol):
    """A pair with its prompt's digest and a label per principle, None where it has none."""

    @property
    def digest(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def labels(self) -> tuple[float | None, ...]: ...


Pair = TypeVar("Pair", bound=Labelled)


def is_open(differences: Sequence[float], labels: Sequence[float], all_labels: Sequence[float]) -> bool:
    """Whether a model may be no better than a coin, the held-out labels are too few to tell, and all of them are not.

    Args:
        differences, labels: of the held-out pairs. all_labels: those of every pair.
    """
    share, decided = accuracy(differences, labels)
    return (decided < ENOUGH and wilson_interval(share * decided, decided)[0] < 0.5
            and sum(abs(label - 0.5) >= DECIDED for label in all_labels) >= LEAST)


def cross_fit(
    pairs: Sequence[Pair], seed: int, progress: Path,
    differences: Callable[[list[Pair], list[Pair], int], list[list[float]]],
) -> dict[str, list[float]]:  # fmt: skip
    """Score differences [principles] of every pair, by digest, each from a model that never saw its prompt.

    Args:
        progress: a file that holds the parts that are done, so that a resumed stage goes on with the next.
        differences: given the pairs to train on, those to score, and the number of the part: the differences of the
            latter [pairs, principles].
    """
    scored: list[dict[str, list[float]]] = read_json(progress) if progress.is_file() else []
    for number in range(len(scored), FOLDS):
        part = [pair for pair in pairs if _fold(pair.prompt, seed) == number]
        rest = [pair for pair in pairs if _fold(pair.prompt, seed) != number]
        rows = differences(rest, part, number) if part and rest else []
        scored.append({pair.digest: row for pair, row in zip(part, rows, strict=False)})
        write_json(progress, scored)
    return {digest: row for part in scored for digest, row in part.items()}


def cross_card(pairs: Sequence[Labelled], differences: dict[str, list[float]], head: int) -> dict[str, Any]:
    """What a card says of it: `cross_labels`, `cross_decided` and the `cross_accuracy` on these; empty where no model
    was trained for it."""
    rows = [(differences[pair.digest][head], label) for pair in pairs
            if pair.digest in differences and (label := pair.labels[head]) is not None]
    if not rows:
        return {}
    share, decided = accuracy([difference for difference, _ in rows], [label for _, label in rows])
    return {"cross_labels": len(rows), "cross_decided": decided, "cross_accuracy": share}


def _fold(prompt: str, seed: int) -> int:
    return int(digest_of([seed, "fold", prompt])[:8], 16) % FOLDS
