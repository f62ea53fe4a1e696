"""Which policies a team may chat with, and which run's preference models score the answers.

A policy is named by a key: `tuned:<run>`, `tuned:<run>@<step>` for one that was kept on the way, `sft:<stage>`, or
`base:<name>`. A key comes from a browser, so it is looked up only among the team's own rows; a base is one that a run
of the team started from, or the demo world.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from training.config import DEMO_WORLD
from training.config.ppo import kept_steps
from webapp.runs.models import RunStage, Stage

DEMO_BASE = f"base:{DEMO_WORLD}"
MOST_RUNS = 300  # newest first: what a dropdown can hold
MOST_KEPT = 300  # policies of earlier steps, those of the newest runs first


class NotYours(LookupError):
    """The key names no policy that this team may use."""


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

    @property
    def tuned(self) -> PolicyChoice:
        return PolicyChoice(f"tuned:{self.run}", f"{self.name} (run {self.run})", self.run)

    def at(self, step: int) -> PolicyChoice:
        return PolicyChoice(f"tuned:{self.run}@{step}", f"{self.name} (run {self.run}, step {step})", self.run)

    @property
    def start(self) -> PolicyChoice:
        if self.sft:
            return PolicyChoice(f"sft:{self.sft}", f"{self.base} after sft (run {self.run})")
        return base_choice(self.base)


@dataclass(frozen=True)
class Policies:
    """All that a team may choose from."""

    runs: list[FinishedRun]

    @property
    def choices(self) -> list[PolicyChoice]:
        starts = {run.start.key: run.start for run in reversed(self.runs)}
        starts.setdefault(DEMO_BASE, base_choice(DEMO_WORLD))
        kept = set(islice(((run.run, step) for run in self.runs for step in run.kept), MOST_KEPT))
        trained = [choice for run in self.runs for choice in (
            run.tuned, *(run.at(step) for step in reversed(run.kept) if (run.run, step) in kept))]
        return trained + list(starts.values())

    def pair_for(self, run_id: int | None) -> tuple[str, str]:
        """Keys of the two policies that a page opens with: a run's initial and its tuned policy."""
        run = next((run for run in self.runs if run.run == run_id), None) or next(iter(self.runs), None)
        return (run.start.key, run.tuned.key) if run else (DEMO_BASE, DEMO_BASE)

    def find(self, key: str) -> FinishedRun | None:
        """The run whose tuned policy this is, after its last step or a kept one."""
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
        if run := self.find(key):
            step = key.partition("@")[2]
            return {"stage": run.ppo, "sft": run.sft, "base": run.base} | ({"step": int(step)} if step else {})
        if key == DEMO_BASE:
            return {"stage": None, "sft": None, "base": DEMO_WORLD}
        if run := self._started_from(key):
            return {"stage": None, "sft": run.sft, "base": run.base}
        raise NotYours(key)


def base_choice(base: str) -> PolicyChoice:
    name = "Demo world" if base == DEMO_WORLD else base
    return PolicyChoice(f"base:{base}", f"{name} (base)")


def policies_of(team_id: int) -> Policies:
    """Two queries, whatever the number of runs."""
    done = Stage.Status.SUCCEEDED
    uses = RunStage.objects.filter(run__team_id=team_id, stage__team_id=team_id, stage__status=done)
    rows = list(uses.filter(name="ppo").order_by("-run_id")
                .values_list("run_id", "run__name", "stage_id", "run__recipe__policy__base",
                             "run__recipe__ppo__keep_every", "run__recipe__ppo__steps")[:MOST_RUNS])
    sft = dict(uses.filter(name="sft", run_id__in=[row[0] for row in rows]).values_list("run_id", "stage_id"))
    return Policies([FinishedRun(run, name, ppo, base, sft.get(run), kept_steps(keep_every or 0, steps or 0))
                     for run, name, ppo, base, keep_every, steps in rows])
