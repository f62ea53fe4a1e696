"""The quality cards of a run's preference models, as the run page shows them: pure functions over stages' summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.principles.models import Principle
from webapp.runs.models import Stage

ARCHITECTURES = {"separate": "a separate adapter", "shared_trunk": "a head on the shared trunk",
                 "full": "a separate full model"}
Named = Callable[[str], Principle | None]


@dataclass(frozen=True)
class MeasuredShare:
    """A share with its 95% interval and its number of pairs."""

    rate: float
    low: float
    high: float
    n: int

    @property
    def may_be_chance(self) -> bool:
        return self.low < 0.5


@dataclass(frozen=True)
class Bin:
    """A point of the reliability curve, in hundredths of the picture: 0 is a confidence of 1/2, 100 is certainty."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Doubling:
    """The effect of the last doubling of the labels: pairs that the model now gets right and got wrong before
    (`won`), and the reverse (`lost`)."""

    won: int
    lost: int
    p: float

    @property
    def shows(self) -> bool:
        """Whether the difference is significant at 5%."""
        return self.p < 0.05


@dataclass(frozen=True)
class ModelCard:
    """The quality card of one principle's preference model. What was not measured is None."""

    principle: Principle | None
    accuracy: MeasuredShare | None
    human: MeasuredShare | None
    judge_human: float | None
    calibration_error: float | None
    calibrated_error: float | None
    temperature: float | None
    length: float | None
    length_before: float | None
    trained_on: int | None
    architecture: str
    bins: tuple[Bin, ...]
    alike: tuple[tuple[Principle | None, float], ...]
    curve: tuple[tuple[int, MeasuredShare], ...] = ()
    doubling: Doubling | None = None

    @property
    def most_alike(self) -> tuple[Principle | None, float] | None:
        """The principle whose scores correlate most strongly, in either direction, with this one's."""
        return max(self.alike, key=lambda item: abs(item[1]), default=None)


def model_cards(stages: Sequence[Stage], named: Named) -> list[ModelCard]:
    """One card per principle with a trained model, in the order of the pipeline."""
    weights = next((stage.summary for stage in stages if stage.kind == "weights" and stage.summary), None)
    correlations: dict[str, dict[str, float]] = (weights or {}).get("correlations", {})
    return [_card(name, card, correlations.get(name, {}), named) for name, card in _cards_by_name(stages)]


def _cards_by_name(stages: Iterable[Stage]) -> Iterable[tuple[str, dict[str, Any]]]:
    for stage in stages:
        if stage.kind == "preference_model" and stage.summary:
            cards = stage.summary.get("cards")
            # A shared trunk has its heads in the recipe's order, which the JSON does not keep.
            named_cards = sorted(cards.items(), key=lambda item: item[1].get("head", 0)) if cards else [
                (stage.principle, stage.summary)]
            yield from named_cards


def _card(name: str, card: dict[str, Any], correlations: dict[str, float], named: Named) -> ModelCard:
    return ModelCard(
        principle=named(name),
        accuracy=_share(card, "accuracy", "accuracy_low", "accuracy_high", "decided"),
        human=_share(card, "human_agreement", "human_low", "human_high", "human_n"),
        judge_human=card.get("judge_human_agreement"), calibration_error=card.get("calibration_error"),
        calibrated_error=card.get("calibration_error_at_temperature"), temperature=card.get("temperature"),
        length=card.get("length_correlation"), length_before=card.get("length_correlation_before"),
        trained_on=card.get("trained_on"), architecture=ARCHITECTURES.get(card.get("architecture", ""), ""),
        bins=tuple(_bin(row) for row in card.get("reliability", [])),
        alike=tuple((named(name_of_other), value) for name_of_other, value in correlations.items()),
        curve=tuple(
            (point["labels"], MeasuredShare(point["accuracy"], point["low"], point["high"], card.get("decided", 0)))
            for point in card.get("learning_curve", [])),
        doubling=Doubling(**card["last_doubling"]) if "last_doubling" in card else None)


def _share(card: dict[str, Any], rate: str, low: str, high: str, n: str) -> MeasuredShare | None:
    if card.get(rate) is None or card.get(low) is None:
        return None
    return MeasuredShare(card[rate], card[low], card[high], card.get(n, card.get("held_out", 0)))


def _bin(row: dict[str, float]) -> Bin:
    title = f"{row['n']:.0f} pairs: {100 * row['confidence']:.0f}% sure, {100 * row['agreed']:.0f}% agreed"
    return Bin(200 * (row["confidence"] - 0.5), 100 - 200 * (max(row["agreed"], 0.5) - 0.5), title)
