"""Queries of the pages about labels. Lists fetch narrow columns only, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from training.judges.identity import judge_title
from webapp.accounts.models import Team, User
from webapp.accounts.numbers import row_key
from webapp.datasets.models import Dataset, titled
from webapp.labels.filtering import OWNERS
from webapp.labels.forms import BANDS, NO_DATASET, ORDERS
from webapp.labels.models import Label, LabelChange, Pair
from webapp.labels.pair_search import containing
from webapp.principles.models import Principle, PrincipleVersion

LIST_COLUMNS = (
    "pair_id", "probability", "p_shown", "p_swapped", "confidence", "order_flip", "error", "review",
    "corrected_probability", "reviewed_by", "judge", "pair__excerpt", "principle_version__number",
    "principle_version__principle__name", "principle_version__principle__symbol",
)
_MOST_OFFERED = 200


def filter_choices(team: Team, data: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """The filter's choices: the team's principles, datasets, runs and judges, including those that `data` names."""
    everything = {"principle": "every principle", "dataset": "every dataset", "run": "every run",
                  "judge": "every judge"}
    return {name: [("", title), *offered(team, name, data.get(name, ""))] for name, title in everything.items()}


def offered(team: Team, name: str, chosen: str = "") -> list[tuple[str, str]]:
    """Values and titles of one field of the filter, of this team only: the newest, and the one that is chosen."""
    match name:
        case "principle":
            return [(value, value) for value in Principle.objects.of(team).values_list("name", flat=True)]
        case "dataset":
            demo = (NO_DATASET, "demo world")
            datasets = _newest(Dataset.objects.of(team), chosen, "name", "version")
            return [demo, *((str(pk), titled(name, version)) for pk, name, version in datasets)]
        case "judge":
            labels = Label.objects.of(team)
            judges = list(labels.order_by("judge").values_list("judge", flat=True).distinct()[:_MOST_OFFERED])
            if chosen and chosen not in judges and labels.filter(judge=chosen).exists():
                judges.append(chosen)
            return [(judge, judge_title(judge)[:60]) for judge in judges]
    rows = OWNERS[name].model.objects.of(team)
    return [(str(pk), f"{title} ({pk})") for pk, title in _newest(rows, chosen, "name")]


def _newest(rows: QuerySet[Any], chosen: str, *columns: str) -> list[tuple[Any, ...]]:
    """Key and columns of the rows that a list offers; one more query only where the chosen one is not among them."""
    offered = list(rows.values_list("pk", *columns)[:_MOST_OFFERED])
    key = row_key(chosen)
    if key is not None and key not in {row[0] for row in offered}:
        offered += rows.filter(pk=key).values_list("pk", *columns)
    return offered


def condition(team: Team, chosen: Mapping[str, Any]) -> Q:
    """A filter (`forms.LabelFilterForm.chosen`) as a condition on the team's labels."""
    matching = Q()
    if "pk" in chosen:  # labels that were ticked one by one
        matching &= Q(pk__in=chosen["pk"])
    if name := chosen.get("principle"):
        matching &= Q(principle_version__in=_versions(team, name))
    if dataset := chosen.get("dataset"):
        matching &= Q(pair__dataset=None) if dataset == NO_DATASET else Q(pair__dataset=dataset)
    if run := chosen.get("run"):
        matching &= OWNERS["run"].labels_of(team, int(run))
    if judge := chosen.get("judge"):
        matching &= Q(judge=judge)
    if band := chosen.get("confidence"):
        matching &= Q(probability=None) if band == "error" else _within(*BANDS[band])
    if orders := chosen.get("orders"):
        matching &= Q(order_flip=True) if orders == "flip" else Q(order_flip=False, order_gap__isnull=False)
    if review := chosen.get("review"):
        matching &= Q(review=review)
    if words := chosen.get("q"):
        matching &= containing(team, words)
    return matching


def labels_of(team: Team, chosen: Mapping[str, Any]) -> QuerySet[Label]:
    """The team's labels that match a filter, in its order."""
    return Label.objects.of(team).filter(condition(team, chosen)).order_by(*ORDERS[chosen.get("sort", "")])


def narrow(labels: QuerySet[Label]) -> QuerySet[Label]:
    """Fetch only the columns that a row of the table shows, without texts."""
    return labels.select_related("pair", "principle_version__principle").only(*LIST_COLUMNS)


@dataclass(frozen=True)
class PrincipleQuality:
    """The quality of one principle's labels; `principle` is None for all principles together."""

    principle: Principle | None
    n: int
    errors: int
    both: int  # labels asked in both orders
    flips: int
    sureness: float  # sum of confidences
    reviewed: int

    @property
    def flip_rate(self) -> float | None:
        return self.flips / self.both if self.both else None

    @property
    def confidence(self) -> float | None:
        return self.sureness / (self.n - self.errors) if self.n > self.errors else None


def quality_by_principle(team: Team, labels: QuerySet[Label]) -> list[PrincipleQuality]:
    """A line for each principle that has labels among those given; two queries."""
    rows = labels.order_by().values("principle_version").annotate(
        n=Count("pk"), errors=Count("pk", filter=Q(probability=None)), sureness=Coalesce(Sum("confidence"), 0.0),
        flips=Count("pk", filter=Q(order_flip=True)), both=Count("order_gap"),
        reviewed=Count("pk", filter=~Q(review=Label.Review.OPEN)))
    versions = PrincipleVersion.objects.filter(principle__team=team).select_related("principle").defer("statement")
    owner = {version.pk: version.principle for version in versions}
    lines: dict[int, list[PrincipleQuality]] = {}
    for row in rows:
        principle = owner[row["principle_version"]]
        line = PrincipleQuality(principle, row["n"], row["errors"], row["both"], row["flips"], row["sureness"],
                                row["reviewed"])
        lines.setdefault(principle.pk, []).append(line)
    return [overall(versions, versions[0].principle) for _, versions in sorted(lines.items())]


def overall(lines: Sequence[PrincipleQuality], principle: Principle | None = None) -> PrincipleQuality:
    """The sum of several lines."""
    return PrincipleQuality(principle, *(sum(getattr(line, name) for line in lines) for name in (
        "n", "errors", "both", "flips", "sureness", "reviewed")))


@dataclass(frozen=True)
class Place:
    """Where a label stands among those that a filter finds. A decision may have taken the label itself out."""

    previous: int | None  # keys of labels
    next: int | None
    before: int  # labels that come before it
    total: int
    is_among: bool

    @property
    def position(self) -> int | None:
        return self.before + 1 if self.is_among else None


def place_of(labels: QuerySet[Label], label: Label, sort: str) -> Place:
    """The label's place in a filter's order; five queries, none of which reads texts."""
    total, is_among = labels.order_by().count(), labels.filter(pk=label.pk).exists()
    if sort and label.confidence is None:  # errors have no place in an order by confidence
        return Place(None, None, 0, total, False)
    previous: tuple[str, ...]
    following: tuple[str, ...]
    if not sort:
        before, after = labels.filter(pk__gt=label.pk), labels.filter(pk__lt=label.pk)
        previous, following = ("pk",), ("-pk",)
    else:
        confidence = label.confidence
        before = labels.filter(Q(confidence__lt=confidence) | Q(confidence=confidence, pk__lt=label.pk))
        after = labels.filter(Q(confidence__gt=confidence) | Q(confidence=confidence, pk__gt=label.pk))
        previous, following = ("-confidence", "-pk"), ("confidence", "pk")
        if sort == "sure":
            before, after, previous, following = after, before, following, previous
    return Place(_first(before.order_by(*previous)), _first(after.order_by(*following)), before.order_by().count(),
                 total, is_among)


def labels_on(pair: Pair) -> QuerySet[Label]:
    """All labels of one pair, by principle. The team is compared as a sum, which no index matches: without statistics
    SQLite would take the index of the team, and read all its labels."""
    return (Label.objects.alias(owner=F("team_id") + 0).filter(pair=pair, owner=pair.team_id)
            .select_related("principle_version__principle", "reviewed_by")
            .order_by("principle_version__principle_id", "-principle_version__number", "judge"))


def undecided_by(user: User, pair_id: int) -> set[int]:
    """Keys of the pair's labels on which the user has never decided."""
    own = LabelChange.objects.filter(label=OuterRef("pk"), by=user)
    return set(Label.objects.filter(~Exists(own), pair=pair_id).order_by().values_list("pk", flat=True))


def changes_of(label: Label) -> QuerySet[LabelChange]:
    """People's changes of a label, newest first."""
    return label.changes.select_related("by")


def _first(labels: QuerySet[Label]) -> int | None:
    return labels.values_list("pk", flat=True).first()


def _versions(team: Team, name: str) -> list[int]:
    versions = PrincipleVersion.objects.filter(principle__team=team, principle__name=name)
    return list(versions.values_list("pk", flat=True))


def _within(low: float, high: float) -> Q:
    return Q(confidence__gte=low, confidence__lt=high)
