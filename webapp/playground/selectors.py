"""Which policies a team may chat with, and which run's preference models score the answers.

A policy is named by a key: `tuned:<run>`, `tuned:<run>@<step>` for one that was kept on the way,
`corner:<run>/<principle>` for a corner of a conditioned policy, `mix:<number>` for one that was saved as a mix of
others, `sft:<stage>`, or `base:<name>`. A key comes from a browser, so it is looked up only among the team's own rows;
a base is one that a run of the team started from, or the demo world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from training.config import DEMO_WORLD
from training.config.ppo import kept_steps
from webapp.playground.models import PolicyMix
from webapp.runs.models import Run, RunStage, Stage

DEMO_BASE = f"base:{DEMO_WORLD}"
MOST_RUNS = 300  # newest first: what a dropdown can hold
MOST_MIXES = 300
MOST_KEPT = 300  # policies of earlier steps, those of the newest runs first


class NotYours(LookupError):
    """The key names no policy that this team may use."""


class CannotMix(ValueError):
    """These policies have no weighted sum; the message says why, and the way out."""


@dataclass(frozen=True)
class PolicyChoice:
    """A policy as the dropdown shows it."""

    key: str
    title: str
    run: int | None = None


@dataclass(frozen=True)
class FinishedRun:
    """A run with a trained policy: its ids and its initial policy."""

    run: int
    name: str
    ppo: int
    base: str
    sft: int | None
    kept: range = range(0)  # steps whose policy was kept
    corners: tuple[str, ...] = ()  # principles that a conditioned policy trades off

    @property
    def tuned(self) -> PolicyChoice:
        return PolicyChoice(f"tuned:{self.run}", f"{self.name} (run {self.run})", self.run)

    def at(self, step: int) -> PolicyChoice:
        return PolicyChoice(f"tuned:{self.run}@{step}", f"{self.name} (run {self.run}, step {step})", self.run)

    def corner(self, principle: str) -> PolicyChoice:
        title = f"{principle} corner of {self.name} (run {self.run})"
        return PolicyChoice(f"corner:{self.run}/{principle}", title, self.run)

    @property
    def start(self) -> PolicyChoice:
        if self.sft:
            return PolicyChoice(f"sft:{self.sft}", f"{self.base} after sft (run {self.run})")
        return base_choice(self.base)


@dataclass(frozen=True)
class Policies:
    """All that a team may choose from."""

    runs: list[FinishedRun]
    mixes: dict[str, PolicyMix] = field(default_factory=dict)  # by key

    @property
    def mixable(self) -> dict[str, list[PolicyChoice]]:
        """What can be mixed, by the title of its base: the policies that are adapters, newest run first, and the base
        itself, which adds nothing to a mix."""
        by_base: dict[str, list[PolicyChoice]] = {}
        for run in self.runs:
            by_base.setdefault(run.start.title, []).extend(
                (run.tuned, *map(run.corner, run.corners), *(run.at(step) for step in reversed(run.kept))))
        starts = {run.start.title: run.start for run in self.runs}
        return {title: [*choices, starts[title]] for title, choices in by_base.items()}

    @property
    def choices(self) -> list[PolicyChoice]:
        starts = {run.start.key: run.start for run in reversed(self.runs)}
        starts.setdefault(DEMO_BASE, base_choice(DEMO_WORLD))
        kept = set(islice(((run.run, step) for run in self.runs for step in run.kept), MOST_KEPT))
        trained = [choice for run in self.runs for choice in (
            run.tuned, *map(run.corner, run.corners),
            *(run.at(step) for step in reversed(run.kept) if (run.run, step) in kept))]
        mixes = [PolicyChoice(key, f"{mix.name} (mix {mix.pk})") for key, mix in self.mixes.items()]
        return mixes + trained + list(starts.values())

    def pair_for(self, run_id: int | None, key: str = "") -> tuple[str, str]:
        """Keys of the two policies that a page opens with: a run's initial and its tuned policy, or the policy of a key
        and the one that it began as."""
        if run := self.find(key):
            return (run.start.key, key)
        run = next((run for run in self.runs if run.run == run_id), None) or next(iter(self.runs), None)
        return (run.start.key, run.tuned.key) if run else (DEMO_BASE, DEMO_BASE)

    def find(self, key: str) -> FinishedRun | None:
        """The run whose tuned policy this is, after its last step, a kept one, a corner; of a mix that of its first
        trained part."""
        if key in self.mixes:
            return next((run for part, _ in self.mixes[key].parts if (run := self.find(part))), None)
        if key.startswith("corner:"):
            number, _, principle = key.removeprefix("corner:").partition("/")
            run = next((run for run in self.runs if str(run.run) == number), None)
            return run if run and principle in run.corners else None
        of_run, _, step = key.partition("@")
        run = next((run for run in self.runs if run.tuned.key == of_run), None)
        return run if run and (not step or step in map(str, run.kept)) else None

    def scorer(self, keys: tuple[str, str], chosen: int | None = None) -> FinishedRun | None:
        """The run whose preference models score: the one chosen, else the right policy's, the left's, the newest."""
        if chosen is not None:
            return next((run for run in self.runs if run.run == chosen), None)
        return self.find(keys[1]) or self.find(keys[0]) or self._started_from(keys[1]) or self._started_from(keys[0])

    def _started_from(self, key: str) -> FinishedRun | None:
        return next((run for run in self.runs if run.start.key == key), None)

    def speaks_demo(self, key: str) -> bool:
        run = self.find(key) or self._started_from(key)
        return key == DEMO_BASE or (run is not None and run.base == DEMO_WORLD)

    def reference(self, key: str) -> dict[str, Any]:
        """The description of a policy for the worker: only ids, and the base's name.

        Raises:
            NotYours: the team has no such policy.
        """
        if key in self.mixes:
            return self.mixed(self.mixes[key].parts)
        if run := self.find(key):
            return {"stage": run.ppo, "sft": run.sft, "base": run.base} | _part_of(key)
        if key == DEMO_BASE:
            return {"stage": None, "sft": None, "base": DEMO_WORLD}
        if run := self._started_from(key):
            return {"stage": None, "sft": run.sft, "base": run.base}
        raise NotYours(key)

    def mixed(self, parts: Sequence[tuple[str, float]]) -> dict[str, Any]:
        """The description of a weighted sum of policies; each part is the key of one of `mixable`, and its weight.

        Raises:
            NotYours: the team has no such policy.
            CannotMix: they have different bases, or the base is all there is.
        """
        trained = [(self.find(key), key, weight) for key, weight in parts if self._started_from(key) is None]
        if any(run is None or key in self.mixes for run, key, _ in trained):
            raise NotYours(", ".join(key for key, _ in parts))
        runs = [(run, key, weight) for run, key, weight in trained if run is not None]
        if not runs:
            raise CannotMix("The mix is the base alone. Give a trained policy a weight.")
        first = runs[0][0]
        starts = [(run.name, run.start) for run, _, _ in runs] + [
            (run.start.title, run.start) for key, _ in parts if (run := self._started_from(key))]
        for name, start in starts:
            if start.key != first.start.key:
                raise CannotMix(f"“{first.name}” and “{name}” have different bases, {first.start.title} and "
                                f"{start.title}. Choose policies of one base.")
        return {"stage": first.ppo, "sft": first.sft, "base": first.base, "parts": [
            {"stage": run.ppo, "weight": weight} | _part_of(key) for run, key, weight in runs]}


def _part_of(key: str) -> dict[str, Any]:
    """Which policy of its run a key names, where it is not the last one."""
    if key.startswith("corner:"):
        return {"corner": key.partition("/")[2]}
    step = key.partition("@")[2]
    return {"step": int(step)} if step else {}


def base_choice(base: str) -> PolicyChoice:
    name = "Demo world" if base == DEMO_WORLD else base
    return PolicyChoice(f"base:{base}", f"{name} (base)")


def policies_of(team_id: int) -> Policies:
    """Four queries, whatever the number of runs."""
    done = Stage.Status.SUCCEEDED
    uses = RunStage.objects.filter(run__team_id=team_id, stage__team_id=team_id, stage__status=done)
    rows = list(uses.filter(name="ppo").order_by("-run_id")
                .values_list("run_id", "run__name", "stage_id", "run__recipe__policy__base",
                             "run__recipe__ppo__keep_every", "run__recipe__ppo__steps")[:MOST_RUNS])
    numbers = [row[0] for row in rows]
    sft = dict(uses.filter(name="sft", run_id__in=numbers).values_list("run_id", "stage_id"))
    conditioned = Run.objects.filter(pk__in=numbers, recipe__ppo__conditioned=True).values_list(
        "pk", "recipe__principles", "recipe__weights__mode")
    corners = {run: tuple(choice["name"] for choice in principles or () if _has_corner(choice, mode))
               for run, principles, mode in conditioned}
    mixes = PolicyMix.objects.filter(team_id=team_id).order_by("-pk")[:MOST_MIXES]
    return Policies([FinishedRun(run, name, ppo, base, sft.get(run), kept_steps(keep_every or 0, steps or 0),
                                 corners.get(run, ()))
                     for run, name, ppo, base, keep_every, steps in rows], {mix.key: mix for mix in mixes})


def _has_corner(choice: dict[str, Any], mode: str | None) -> bool:
    """Whether a principle of a conditioned run's recipe takes part in its reward."""
    return choice.get("serves", "labels") != "gauge" and (mode == "fitted" or choice.get("weight", 1.0) != 0)
