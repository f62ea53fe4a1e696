"""What people chose on pairs, out of their decisions on labels."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Exists, OuterRef

from webapp.accounts.models import Team
from webapp.labels.models import Label, LabelChange


@dataclass(frozen=True)
class Choice:
    """People's choice on one pair and principle: 1 for A, 0 for B, a half for a tie."""

    pair: int
    principle: int
    value: float


def choices_of(team: Team, *, only_blind: bool) -> list[Choice]:
    """One choice per pair and principle, the newest decision; rejected labels choose nothing.

    Args:
        only_blind: leave out what was decided with the judge's answer in sight. An approval always was: it says that
            the judge is right, and would make every judge look alike.
    """
    decided = Label.objects.of(team).exclude(review__in=[Label.Review.OPEN, Label.Review.REJECTED])
    if only_blind:
        blind = LabelChange.objects.filter(label=OuterRef("pk"), blind=True, undone_at=None,
                                           after=Label.Review.OVERRIDDEN)
        decided = decided.filter(Exists(blind), review=Label.Review.OVERRIDDEN)
    rows = decided.order_by("reviewed_at", "pk").values_list(
        "pair_id", "principle_version__principle_id", "review", "probability", "corrected_probability")
    newest: dict[tuple[int, int], Choice] = {}
    for pair, principle, review, said, corrected in rows:
        probability = corrected if review == Label.Review.OVERRIDDEN else said
        if probability is not None:
            newest[pair, principle] = Choice(pair, principle, _winner(probability))
    return [newest[key] for key in sorted(newest)]


def _winner(probability: float) -> float:
    return 0.5 if probability == 0.5 else float(probability > 0.5)
