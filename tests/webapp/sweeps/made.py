"""Sweeps with made-up results, for the tests of pages and for looking at pages by eye."""

from __future__ import annotations

from typing import Any

from training.config import Recipe, shipped_recipe
from training.run.artifacts import write_jsonl
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunStage, Stage
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.services import sweep_create

S = Stage.Status


def demo() -> Recipe:
    return shipped_recipe("demo")


def make_sweep(team: Team, user: User, over: dict[str, Any] | None = None, *, at_a_time: int = 1,
               base: Recipe | None = None, name: str = "Coefficients") -> Sweep:
    return sweep_create(team=team, user=user, name=name, base=base or demo(), dataset=None, at_a_time=at_a_time,
                        over=over or {"grid": {"ppo.kl.coefficient": [0.05, 0.1, 0.2, 0.4]}})


def end(run: Run, status: str = Run.Status.SUCCEEDED) -> None:
    """End a run as the workers would: its stages are done, or its PPO failed."""
    own = Stage.objects.filter(uses__run=run).exclude(status=S.SUCCEEDED)
    if status == Run.Status.FAILED:
        own.filter(kind="ppo").update(status=S.FAILED)
        own.exclude(kind="ppo").update(status=S.WAITING)
    else:
        own.update(status=S.SUCCEEDED)
    Run.objects.filter(pk=run.pk).update(status=status)


def run_of(sweep: Sweep, number: int) -> Run:
    run = SweepRun.objects.get(sweep=sweep, number=number).run
    assert run is not None, f"run {number} has not started"
    return run


def rate(share: float) -> dict[str, Any]:
    return {"win_rate": share, "low": share - 0.05, "high": share + 0.05, "n": 100}


def report(run: Run, wins: dict[str, float], kl: float = 3.0, overall: float = 0.6,
           scores: dict[str, float] | None = None) -> None:
    """Give a run an evaluation and a last phase of PPO; the run ends."""
    end(run)
    uses = RunStage.objects.filter(run=run).select_related("stage")
    evaluate = uses.get(stage__kind="evaluate").stage
    evaluate.summary = {"overall": rate(overall), "principles": {name: rate(share) for name, share in wins.items()},
                        "opinions": {name: {"difference": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}}
                                     for name, mean in (scores or {}).items()}}
    evaluate.save(update_fields=["summary"])
    ppo = uses.get(stage__kind="ppo").stage
    ppo.summary = {"last": {"kl/mean": kl, "response/length": 12.0}}
    ppo.save(update_fields=["summary"])


def answers(run: Run, verdicts: list[dict[str, float | None]]) -> None:
    """Write the outcomes of a run's prompts where its evaluation would have."""
    folder = RunStage.objects.get(run=run, stage__kind="evaluate").stage.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "answers.jsonl", [{"prompt": f"prompt {place}", "verdicts": verdict}
                                           for place, verdict in enumerate(verdicts)])
