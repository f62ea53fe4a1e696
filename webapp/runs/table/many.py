"""Actions on many runs of a team at once; each says which runs it changed, so that it can be undone for those alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from django.db import transaction
from django.db.models import Count

from training.errors import BadSettings
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunTag
from webapp.runs.tidying import MOST_TAGS

Action: TypeAlias = Literal["archive", "unarchive", "star", "unstar", "tag", "untag"]
INVERSE: dict[Action, Action] = {"archive": "unarchive", "unarchive": "archive", "star": "unstar", "unstar": "star",
                                 "tag": "untag", "untag": "tag"}
WORDS: dict[Action, str] = {
    "archive": "in the archive", "unarchive": "back in the list", "star": "starred", "unstar": "no longer starred",
    "tag": "tagged “{tag}”", "untag": "without the tag “{tag}”"}
MOST = 1000  # runs of one action
LONGEST_TAG = 40


class Done(NamedTuple):
    """What an action changed, and how many of the runs it left as they are and why."""

    action: Action
    runs: list[int]
    tag: str = ""
    left: str = ""

    @property
    def words(self) -> str:
        count = f"{len(self.runs)} run is" if len(self.runs) == 1 else f"{len(self.runs)} runs are"
        return f"{count} {WORDS[self.action].format(tag=self.tag)}.{self.left}"


@transaction.atomic
def runs_change(*, team: Team, keys: Sequence[int], action: Action, tag: str = "") -> Done:
    """Archive, star or tag the team's runs with these keys; what is so already is not changed.

    Raises:
        BadSettings: no runs, too many, or a tag that is empty or too long.
    """
    if not keys or len(keys) > MOST:
        raise BadSettings(f"These are {len(keys)} runs.", f"Check 1 to {MOST:,} runs in the list.")
    chosen = Run.objects.of(team).filter(pk__in=keys)
    if action in ("tag", "untag"):
        return _tagged(list(chosen.order_by("pk").values_list("pk", flat=True)), action, tag.strip().lower())
    left = ""
    if action in ("archive", "unarchive"):
        under_way = chosen.filter(status=Run.Status.RUNNING).count() if action == "archive" else 0
        left = f" {under_way} under way {'stays' if under_way == 1 else 'stay'} in the list." if under_way else ""
        chosen = chosen.exclude(status=Run.Status.RUNNING) if action == "archive" else chosen
        field, value = "archived", action == "archive"
    else:
        field, value = "starred", action == "star"
    others = list(chosen.filter(**{field: not value}).select_for_update().values_list("pk", flat=True))
    Run.objects.filter(pk__in=others).update(**{field: value})
    return Done(action, sorted(others), left=left)


def _tagged(keys: Sequence[int], action: Action, tag: str) -> Done:
    if not tag or len(tag) > LONGEST_TAG:
        raise BadSettings(f"The tag has {len(tag)} characters.", f"Write one of 1 to {LONGEST_TAG}.")
    has_it = set(RunTag.objects.filter(run__in=keys, name=tag).values_list("run", flat=True))
    if action == "untag":
        RunTag.objects.filter(run__in=has_it, name=tag).delete()
        return Done(action, sorted(has_it), tag)
    full = set(RunTag.objects.filter(run__in=keys).order_by().values_list("run").annotate(
        count=Count("pk")).filter(count__gte=MOST_TAGS).values_list("run", flat=True)) - has_it
    new = [key for key in keys if key not in has_it and key not in full]
    RunTag.objects.bulk_create([RunTag(run_id=key, name=tag) for key in new], ignore_conflicts=True)
    left = f" {len(full)} had {MOST_TAGS} tags already." if full else ""
    return Done(action, new, tag, left)
