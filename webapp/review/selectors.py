"""What the review pages read: assignments with their progress, a person's queue, and what people differ on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Avg, Count, Exists, F, Max, Min, OuterRef, Q, QuerySet

from training.dialogue import Dialogue
from webapp.accounts.models import Team, User
from webapp.labels.differences import Piece, marked
from webapp.labels.models import Label
from webapp.principles.models import Principle
from webapp.review.agreement import PeopleAgreement, agreement_of
from webapp.review.models import Choice, ReviewAssignment, ReviewDecision, ReviewItem, ReviewOutcome

State = ReviewItem.State
AHEAD = 8  # pairs on the page: the one that is decided, and the next ones
# What `Progress` begins with: assigned, open, decided, skipped.
_COUNTS: dict[str, Any] = {"assigned": Count("pk", filter=~Q(state=State.CANCELED)), **{
    str(state): Count("pk", filter=Q(state=state)) for state in (State.OPEN, State.DECIDED, State.SKIPPED)}}


def assignments_of(team: Team) -> QuerySet[ReviewAssignment]:
    return ReviewAssignment.objects.of(team).select_related("created_by")


def assignments_for(team: Team, user: User) -> QuerySet[ReviewAssignment]:
    """The assignments in which the person has a queue."""
    mine = ReviewItem.objects.filter(assignment=OuterRef("pk"), user=user)
    return assignments_of(team).filter(Exists(mine))


@dataclass(frozen=True)
class Progress:
    """How far an assignment, or one person's queue in it, is."""

    title: str
    assigned: int
    open: int
    decided: int
    skipped: int
    seconds: float | None = None  # mean time per decision

    @property
    def done_share(self) -> float:
        return (self.assigned - self.open) / self.assigned if self.assigned else 1.0


def progress_by_assignment(assignments: Sequence[ReviewAssignment], user: User | None = None) -> dict[int, Progress]:
    """Progress by the key of each assignment, of one person or of all; one query."""
    items = ReviewItem.objects.filter(assignment__in=[assignment.pk for assignment in assignments])
    if user is not None:
        items = items.filter(user=user)
    rows: Any = items.order_by().values("assignment").annotate(**_COUNTS).values_list("assignment", *_COUNTS)
    return {assignment: Progress("", *counts) for assignment, *counts in rows}


def progress_by_person(assignment: ReviewAssignment) -> list[Progress]:
    """Progress of each person; two queries."""
    items = assignment.items.order_by("user__username").values("user", "user__username")
    rows: Any = items.annotate(**_COUNTS).values_list("user", "user__username", *_COUNTS)
    seconds = dict(ReviewDecision.objects.filter(item__assignment=assignment, value__in=Choice.values).order_by()
                   .values("user").annotate(mean=Avg("seconds")).values_list("user", "mean"))
    return [Progress(name, assigned, left, decided, skipped, seconds.get(user))
            for user, name, assigned, left, decided, skipped in rows]


@dataclass(frozen=True)
class ShownItem:
    """A pair of a person's queue as the page shows it."""

    item: int
    principle: Principle
    statement: str
    earlier: Dialogue
    last: Dialogue
    pieces_a: list[Piece]
    pieces_b: list[Piece]
    judged: str  # the judge's answer in words; empty while it is hidden


def queue_of(assignment: ReviewAssignment, user: User, present: Collection[str] = (),
             shown: int = 0) -> list[ShownItem]:
    """The next pairs of a person that the page has not got yet; two queries.

    Args:
        present: keys of items that the page has got: shown on it, or decided and not saved yet.
        shown: how many of them are still to be decided.
    """
    mine = assignment.items.filter(user=user, state=State.OPEN).order_by("position")
    keys = mine.values_list("pk", flat=True)[:AHEAD + len(present)]
    missing = [pk for pk in keys if str(pk) not in present][:max(AHEAD - shown, 0)]
    items = ReviewItem.objects.filter(pk__in=missing).select_related(
        "label__pair__text", "label__principle_version__principle").order_by("position")
    return [_shown(item, is_hidden=assignment.blind) for item in items]


def _shown(item: ReviewItem, is_hidden: bool) -> ShownItem:
    text, version = item.label.pair.text, item.label.principle_version
    pieces_a, pieces_b = marked(text.response_a, text.response_b)
    return ShownItem(item.pk, version.principle, version.statement, text.prompt[:-1], text.prompt[-1:], pieces_a,
                     pieces_b, "" if is_hidden else judge_in_words(item.label))


def judge_in_words(label: Label) -> str:
    """'A better, 0.83'."""
    if label.probability is None:
        return "no answer"
    if label.probability == 0.5:
        return "tie"
    winner, share = ("A", label.probability) if label.probability > 0.5 else ("B", 1 - label.probability)
    return f"{winner} better, {share:.2f}"


# What people together say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrincipleAgreement:
    """The agreement of people on one principle; `principle` is None for all together."""

    principle: Principle | None
    agreement: PeopleAgreement


def agreement_by_principle(assignment: ReviewAssignment) -> list[PrincipleAgreement]:
    """A line for each principle on which two people or more decided; two queries."""
    rows = assignment.items.filter(state=State.DECIDED).order_by().values("label").annotate(
        a=Count("pk", filter=Q(value=Choice.A)), b=Count("pk", filter=Q(value=Choice.B)),
        tie=Count("pk", filter=Q(value=Choice.TIE)), n=Count("pk"),
        principle=Max("label__principle_version__principle"),
    ).filter(n__gte=2).values_list("principle", "a", "b", "tie")
    counts: dict[int, list[tuple[int, int, int]]] = {}
    for principle, *says in rows:
        counts.setdefault(principle, []).append((says[0], says[1], says[2]))
    principles = Principle.objects.of(assignment.team).in_bulk(counts)
    lines = [PrincipleAgreement(principles[key], agreement_of(says)) for key, says in sorted(counts.items())]
    if len(lines) > 1:
        lines.append(PrincipleAgreement(None, agreement_of([one for says in counts.values() for one in says])))
    return lines


def differing(assignment: ReviewAssignment) -> QuerySet[Any]:
    """Keys of the labels on which people differ, with nobody left who has still to decide, and not adjudicated."""
    settled = ReviewOutcome.objects.filter(assignment=assignment, label=OuterRef("label"), withdrawn_at=None)
    return assignment.items.exclude(state=State.CANCELED).order_by().values("label").annotate(
        waiting=Count("pk", filter=Q(state=State.OPEN)), low=Min("value", filter=Q(state=State.DECIDED)),
        high=Max("value", filter=Q(state=State.DECIDED)),
    ).filter(~Exists(settled), waiting=0, low__lt=F("high")).order_by("label").values_list("label", flat=True)


def choices_on(assignment: ReviewAssignment, label_id: int) -> list[ReviewItem]:
    """What each person chose, without their names in the way: ordered by choice."""
    return list(assignment.items.filter(label=label_id, state=State.DECIDED).select_related("user").order_by(
        "value", "position"))


def outcomes_in(assignment: ReviewAssignment) -> dict[str, int]:
    """How many labels were corrected by all agreeing, and by a member."""
    return assignment.outcomes.filter(withdrawn_at=None).aggregate(
        unanimous=Count("pk", filter=Q(is_adjudicated=False)), adjudicated=Count("pk", filter=Q(is_adjudicated=True)))


def label_to_adjudicate(assignment: ReviewAssignment) -> Label | None:
    """The first label on which people differ, with its texts."""
    key = differing(assignment).first()
    return None if key is None else Label.objects.select_related(
        "pair__text", "principle_version__principle").get(pk=key)


def labels_in(assignment: ReviewAssignment) -> QuerySet[Label]:
    return Label.objects.of(assignment.team).filter(
        pk__in=assignment.items.order_by().values("label"))
