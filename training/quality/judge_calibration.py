"""How far a judge can be trusted: its verdicts against what people chose on the same pairs. Torch-free.

Agreement is counted on pairs on which both name a winner, raw and beyond chance (Cohen's kappa, 1960). Beside it stands
what may explain it without any judgement: how often the response shown first wins, how often the longer one does, and
what a judge would reach that always says A or always takes the longer response: the floor.

Left out: weighted kappa, and corrections of verdicts by what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.quality.intervals import wilson_interval

DRAWS = 1000  # of the bootstrap over pairs


class JudgedPair(NamedTuple):
    """A pair with what people and a judge say of it.

    Attributes:
        people: 1 where they chose A, 0 for B, a half for a tie.
        probability: that A is better, as the judge says; None where it gave no verdict.
        shown, swapped: the same with A shown first, and with B shown first; None where it was not asked so.
        again: what it said when it was asked a second time; None where it was not.
        length_a, length_b: of the responses, in characters.
    """

    people: float
    probability: float | None
    shown: float | None = None
    swapped: float | None = None
    again: float | None = None
    length_a: int = 0
    length_b: int = 0


class Share(NamedTuple):
    """A share of n with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Kappa(NamedTuple):
    """Cohen's kappa with its 95 % bootstrap interval over pairs."""

    value: float
    low: float
    high: float


class JudgeCalibration(NamedTuple):
    """What a judge's verdicts are worth; a share is None where no pair says anything about it.

    Attributes:
        agreement: same winner as people.
        kappa: None where chance alone would agree fully, or there are no such pairs.
        first: the response shown first wins, over both orders; a half without position bias.
        flips: its two orders name different winners.
        longer, people_longer: the longer response wins, by the judge and by people, on the same pairs.
        consistency: the same winner when it is asked again.
        always_a, takes_longer: agreement of the two judges that read nothing.
        silent: pairs without a verdict.
    """

    agreement: Share | None
    kappa: Kappa | None
    first: Share | None
    flips: Share | None
    longer: Share | None
    people_longer: Share | None
    consistency: Share | None
    always_a: Share | None
    takes_longer: Share | None
    silent: int


def judge_calibration(pairs: Sequence[JudgedPair], seed: int = 0) -> JudgeCalibration:
    """The calibration of a judge on some pairs; the same pairs and seed give the same intervals."""
    both = [pair for pair in pairs if _names(pair.people) and _names(pair.probability)]
    winners = [(pair.people > 0.5, (pair.probability or 0.0) > 0.5) for pair in both]
    decided = [pair for pair in pairs if _names(pair.people)]
    uneven = [pair for pair in both if pair.length_a != pair.length_b]
    firsts = [value for pair in pairs for value in (
        _first_wins(pair.shown, is_swapped=False), _first_wins(pair.swapped, is_swapped=True)) if value is not None]
    orders = [pair for pair in pairs if _names(pair.shown) and _names(pair.swapped)]
    asked_again = [pair for pair in pairs if _names(pair.probability) and _names(pair.again)]
    return JudgeCalibration(
        _share([person == judge for person, judge in winners]), _kappa(winners, seed), _share(firsts),
        _share([_says_a(pair.shown) != _says_a(pair.swapped) for pair in orders]),
        _share([_says_a(pair.probability) == (pair.length_a > pair.length_b) for pair in uneven]),
        _share([_says_a(pair.people) == (pair.length_a > pair.length_b) for pair in uneven]),
        _share([_says_a(pair.probability) == _says_a(pair.again) for pair in asked_again]),
        _share([_says_a(pair.people) for pair in decided]),
        _share([_says_a(pair.people) == (pair.length_a > pair.length_b) for pair in decided
                if pair.length_a != pair.length_b]),
        sum(pair.probability is None for pair in pairs))


def _names(probability: float | None) -> bool:
    """Whether it names a winner."""
    return probability is not None and probability != 0.5


def _says_a(probability: float | None) -> bool:
    return probability is not None and probability > 0.5


def _first_wins(probability: float | None, is_swapped: bool) -> bool | None:
    """Whether the response that was shown first wins; None for a tie or no verdict."""
    return (_says_a(probability) != is_swapped) if _names(probability) else None


def _share(outcomes: Sequence[bool]) -> Share | None:
    if not outcomes:
        return None
    return Share(sum(outcomes) / len(outcomes), *wilson_interval(sum(outcomes), len(outcomes)), len(outcomes))


def _kappa(winners: Sequence[tuple[bool, bool]], seed: int) -> Kappa | None:
    if not winners:
        return None
    counts = np.array([sum(winner == (person, judge) for winner in winners)
                       for person in (True, False) for judge in (True, False)], dtype=float)
    value = kappas(counts[None])[0]
    if np.isnan(value):
        return None
    resampled = np.random.default_rng(seed).multinomial(len(winners), counts / len(winners), size=DRAWS).astype(float)
    spread = kappas(resampled)
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Kappa(float(value), float(low), float(high))


def kappas(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of each table of counts, [tables, 4] in the order AA, AB, BA, BB; NaN where chance agrees fully.

    >>> kappas(np.array([[20.0, 5.0, 10.0, 15.0]])).round(3).tolist()
    [0.4]
    """
    n = counts.sum(axis=1)
    first = (counts[:, 0] + counts[:, 1]) / n
    second = (counts[:, 0] + counts[:, 2]) / n
    chance = first * second + (1 - first) * (1 - second)
    raw = (counts[:, 0] + counts[:, 3]) / n
    return np.where(chance > 1 - 1e-12, np.nan, (raw - chance) / np.where(chance > 1 - 1e-12, 1.0, 1 - chance))
