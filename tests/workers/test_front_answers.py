"""A worker makes the answers of a front with the demo world's policy, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.webapp.fronts.made import PROMPTS
from tests.workers.demo_run import demo_run
from training.config import Evaluate
from training.models import language_model
from training.run.artifacts import write_jsonl
from training.run.reporting import EventFile
from training.stages import evaluate
from webapp.accounts.models import Team
from webapp.fronts.models import PolicyFront, PolicyPoint
from webapp.runs.models import Run, RunStage, Stage
from workers.front_answers import answer_front

pytestmark = pytest.mark.once  # it computes, and stores little
SEED, LONGEST = 5, 10


@pytest.fixture
def run(team: Team, artifacts: Path) -> Run:
    run = demo_run(team)
    stage = Stage.objects.create(team=team, identity="e".ljust(64, "0"), name="evaluate", kind="evaluate",
                                 status="succeeded")
    RunStage.objects.create(run=run, stage=stage, name="evaluate", position=9)
    stage.folder.mkdir(parents=True)
    write_jsonl(stage.folder / "answers.jsonl", [{"prompt": prompt, "policy": "", "base": ""} for prompt in PROMPTS])
    return run


@pytest.fixture
def front(team: Team, run: Run) -> PolicyFront:
    """The run's policy, half of it, and none of it."""
    front = PolicyFront.objects.create(
        team=team, name="Demo", run=run, judge={"kind": "rule"}, judge_title="rules", questions=[{"name": "overall"}],
        prompts=6, temperature=1.0, max_new_tokens=LONGEST, seed=SEED)
    for place, weight in enumerate((1.0, 0.5, 0.0)):
        PolicyPoint.objects.create(front=front, place=place, kind="line", label=f"{weight}",
                                   parts=[[f"tuned:{run.pk}", weight]])
    return front


def test_a_policy_answers_as_in_its_evaluation_and_a_mix_is_another_one(
        front: PolicyFront, run: Run, tmp_path: Path) -> None:
    """The engine's own evaluation, asked for the same prompts with the same seed, gives the same words."""
    answer_front(front.pk)
    front.refresh_from_db()
    assert (front.status, front.cause) == ("queued", ""), "the judge is next"
    full, half, none = ([answer.text for answer in point.answers.order_by("prompt")] for point in front.points.all())
    language = language_model.load("demo-world", torch.device("cpu"))
    language = language_model.load_adapter(language, run.uses.get(name="ppo").stage.folder / "adapter")
    settings = Evaluate(prompts=6, temperature=1.0, max_new_tokens=LONGEST)
    reporter = EventFile(tmp_path / "events.jsonl")
    assert full == evaluate.answer(language, PROMPTS, settings, SEED, reporter, done=0)
    with language_model.reference(language):
        assert none == evaluate.answer(language, PROMPTS, settings, SEED, reporter, done=0, adapted=False)
    assert len({tuple(answers) for answers in (full, half, none)}) == 3
