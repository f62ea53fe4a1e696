"""How long a whole run still takes: from what its stages report and how long stages of the same kind took before.

Every stage that is not done gets an expected time with a range. A small schedule then adds them up: stages that load
models take turns, those that ask judges run beside them, and each waits for what it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from statistics import median
from typing import Any, NamedTuple

from django.utils import timezone

from webapp.accounts.durations import duration
from webapp.runs.models import Run, RunStage, Stage

S = Stage.Status
PAST = 200  # finished stages of a team that are looked at
NEWEST = 8  # of the same kind that count
TITLES = {"sft": "fine-tuning", "sample": "sampling", "label": "labels", "draw": "drawn labels",
          "preference_model": "preference models", "weights": "weights", "ppo": "PPO", "evaluate": "evaluation"}
# Settings that a stage's time is proportional to. What is not listed here must be nearly the same: `_like`.
SIZES: dict[str, tuple[str, ...]] = {
    "sample": ("sample.count", "sample.max_new_tokens"), "label": ("judge.max_pairs",),
    "preference_model": ("preference_model.epochs",),
    "ppo": ("ppo.steps", "ppo.batch_size", "ppo.max_new_tokens"),
    "evaluate": ("evaluate.prompts", "evaluate.max_new_tokens"),
}
SAME = ("device", "policy.base", "preference_model.base", "preference_model.architecture", "judge.kind", "judge.model",
        "judge.base_url", "ppo.algorithm", "weights.mode")
FEW, SURE = 0.3, 0.1  # how far one earlier stage, and a report at the end of a stage, may be off


class Span(NamedTuple):
    """Seconds, and the range in which they probably are."""

    seconds: float
    low: float
    high: float


QUICK_KINDS = {"weights", "draw"}  # stages that only write a file
QUICK = Span(2.0, 1.0, 10.0)


class Past(NamedTuple):
    """A stage that is done: its kind and settings, and the seconds it took."""

    kind: str
    settings: Mapping[str, Any]
    seconds: float


class Estimate(NamedTuple):
    """What is left of a run. `unknown`: kinds of stages that nothing is known of; the time is then a lower bound."""

    left: Span
    unknown: tuple[str, ...] = ()
    at_work: bool = True

    @property
    def rest(self) -> str:
        """'9 min left'; of a run that waits, '9 min of work left'."""
        return f"{rounded(self.left.seconds)} {'left' if self.at_work else 'of work left'}"

    @property
    def text(self) -> str:
        return f"{'at least' if self.unknown else 'about'} {self.rest}"

    @property
    def words(self) -> str:
        """Both: 'about 9 min left, likely 7 to 12 min'."""
        return ", ".join(part for part in (self.text, self.range) if part)

    @property
    def range(self) -> str:
        """How sure this is: 'likely 7 to 12 min', and what is not counted."""
        if self.unknown:
            *first, last = self.unknown
            return f"not counting {', '.join(first) + ' and ' if first else ''}{last}, which nothing is known of yet"
        low, high = rounded(self.left.low), rounded(self.left.high)
        if low == high:
            return ""
        if (number := low.split()) and len(number) == 2 and high.endswith(f" {number[1]}") and len(high.split()) == 2:
            low = number[0]
        return f"likely {low} to {high}"


def rounded(seconds: float) -> str:
    """A duration with as many digits as an estimate has: '35 s', '9 min', '2 h 15 min'."""
    step = 5 if seconds <= 57.5 else 60 if seconds < 3600 else 300
    return duration(max(round(seconds / step), 1) * step)


def estimates(runs: Sequence[Run], stages: Mapping[int, Sequence[Stage]], spans: Mapping[int, Span]) -> (
        dict[int, Estimate]):
    """The estimate of every run that is not over and of which something is known."""
    by_run = {run.pk: estimate(stages.get(run.pk, ()), spans) for run in runs if run.status == Run.Status.RUNNING}
    return {run: value for run, value in by_run.items() if value is not None}


def estimate(stages: Sequence[Stage], spans: Mapping[int, Span]) -> Estimate | None:
    """What is left of a run; `stages` in the order of its pipeline, `spans` the expected times from `spans_of`."""
    open_stages = [stage for stage in stages if stage.status != S.SUCCEEDED]
    spans = _like_siblings(open_stages) | dict(spans)
    left = {stage.pk: left_of(stage, spans.get(stage.pk)) for stage in open_stages}
    unknown = tuple(dict.fromkeys(TITLES.get(stage.kind, stage.kind) for stage in open_stages if not left[stage.pk]))
    known = [stage for stage in open_stages if left[stage.pk] and not (unknown and stage.kind in QUICK_KINDS)]
    if not known:  # "at least 5 s left" of a run that may take hours says nothing
        return None
    ends = [schedule(open_stages, {pk: span[which] if span else 0.0 for pk, span in left.items()})
            for which in range(3)]
    return Estimate(Span(*ends), unknown, any(stage.status == S.RUNNING for stage in open_stages))


def _like_siblings(stages: Sequence[Stage]) -> dict[int, Span]:
    """Until a stage of a kind has ended: what the one at work will take in all, for those of its kind that wait."""
    in_all = {stage.kind: ran(stage) + stage.eta_seconds for stage in stages
             if stage.status == S.RUNNING and stage.eta_seconds is not None}
    spans = {stage.pk: _span([in_all[stage.kind]]) for stage in stages
             if stage.kind in in_all and stage.status != S.RUNNING}
    return {stage.pk: QUICK for stage in stages if stage.kind in QUICK_KINDS} | spans


def ran(stage: Stage) -> float:
    """Seconds since a stage at work was started."""
    return (timezone.now() - stage.started_at).total_seconds() if stage.started_at else 0.0


def left_of(stage: Stage, usual: Span | None) -> Span | None:
    """What is left of one stage. A report counts the more the further the stage is; before that, earlier stages do."""
    if stage.status != S.RUNNING:
        return usual
    done = min(stage.progress_done / stage.progress_total, 1.0) if stage.progress_total else 0.0
    reported = stage.eta_seconds if done else None
    if usual is None:
        spread = FEW * (1 - done) + SURE
        return None if reported is None else Span(reported, reported * (1 - spread), reported * (1 + spread))
    if reported is None:
        return Span(*(max(seconds - ran(stage), 0.05 * seconds) for seconds in usual))
    rest = [seconds * (1 - done) for seconds in usual]
    mixed = [done * reported + (1 - done) * seconds for seconds in rest]
    return Span(mixed[0], mixed[1], mixed[2])


def schedule(stages: Sequence[Stage], seconds: Mapping[int, float]) -> float:
    """When the last stage ends: a stage starts when what it waits for is done and a worker of its queue is free."""
    at_work = [stage for stage in stages if stage.status == S.RUNNING]
    lanes = [seconds[stage.pk] for stage in at_work if stage.queue == Stage.Queue.GPU] or [0.0]
    ends = {stage.pk: seconds[stage.pk] for stage in at_work}
    for number, stage in enumerate(stages):
        if stage.pk in ends:
            continue
        start = max((ends[other.pk] for other in stages[:number] if _waits_for(stage, other)), default=0.0)
        if stage.queue == Stage.Queue.GPU:
            lane = lanes.index(min(lanes))
            start = max(start, lanes[lane])
            lanes[lane] = start + seconds[stage.pk]
        ends[stage.pk] = start + seconds[stage.pk]
    return max(ends.values(), default=0.0)


def _waits_for(stage: Stage, other: Stage) -> bool:
    if stage.kind == other.kind:
        return False
    if other.kind == "label" and stage.kind in {"preference_model", "draw"} and stage.principle:
        return other.principle == stage.principle
    return True


# Expected times ---------------------------------------------------------------------------------------------------


def spans_of(runs: Sequence[Run]) -> dict[int, Span]:
    """The expected time of every stage of these runs (of one team) that is not done, in two queries."""
    active = [run for run in runs if run.status == Run.Status.RUNNING]
    if not active:
        return {}
    uses = RunStage.objects.filter(run__in=[run.pk for run in active])
    open_stages = Stage.objects.filter(pk__in=uses.values("stage")).exclude(status=S.SUCCEEDED)
    spans = expected(open_stages.values_list("pk", "kind", "settings"), past_stages(active[0].team_id))
    return {pk: span for pk, span in spans.items() if span is not None}


def past_stages(team: int) -> list[Past]:
    """The team's newest finished stages that took one attempt, newest first."""
    finished = Stage.objects.filter(team=team, status=S.SUCCEEDED, attempt__lte=1,
                                    started_at__isnull=False, finished_at__isnull=False).order_by("-finished_at")
    return [Past(kind, settings, (end - start).total_seconds()) for kind, settings, start, end in
            finished.values_list("kind", "settings", "started_at", "finished_at")[:PAST] if start and end]


def expected(open_stages: Iterable[tuple[int, str, Mapping[str, Any]]], past: Sequence[Past]) -> dict[int, Span | None]:
    """For each (key, kind, settings): the median of like stages, newest first in `past`, scaled to its size."""
    like = defaultdict(list)
    for stage in past:
        like[_like(stage.kind, stage.settings)].append(stage)
    spans: dict[int, Span | None] = {}
    for pk, kind, settings in open_stages:
        size = _size(kind, settings)
        seconds = [stage.seconds * size / _size(kind, stage.settings) for stage in like[_like(kind, settings)][:NEWEST]]
        spans[pk] = _span(seconds) if seconds else None
    return spans


def _span(seconds: Sequence[float]) -> Span:
    middle, spread = median(seconds), FEW if len(seconds) < 3 else SURE
    return Span(middle, min(*seconds, middle * (1 - spread)), max(*seconds, middle * (1 + spread)))


def _like(kind: str, settings: Mapping[str, Any]) -> tuple[object, ...]:
    return kind, *(_at(settings, path) for path in SAME)


def _size(kind: str, settings: Mapping[str, Any]) -> float:
    numbers = [_at(settings, path) for path in SIZES.get(kind, ())]
    return prod(number for number in numbers if isinstance(number, int | float) and number > 0)


def _at(settings: Mapping[str, Any], path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
