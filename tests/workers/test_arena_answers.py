"""A worker makes the answers of an arena with the demo world's policy, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.webapp.runs.seeds import make_run
from tests.workers.demo_run import NAMES, demo_run
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, ArenaAnswer, Entrant
from webapp.arena.services import add_prompts
from workers.arena_answers import answer_arena

pytestmark = pytest.mark.once  # it computes, and stores little


@pytest.fixture
def arena(team: Team) -> Arena:
    arena = Arena.objects.create(team=team, name="Demo", status=Arena.Status.QUEUED, max_new_tokens=12)
    for name in ("one", "other"):
        Entrant.objects.create(arena=arena, name=name, key="base:demo-world")
    add_prompts(arena=arena, prompts=[[{"role": "user", "content": f"What is the capital of {place}?"}]
                                      for place in ("Ister", "Orvan", "Telm")])
    return arena


def test_every_policy_answers_every_prompt_and_what_is_there_stays(arena: Arena) -> None:
    first = arena.entrants.order_by("pk")[0]
    ArenaAnswer.objects.create(entrant=first, prompt=arena.prompts.all()[0], text="Already there.")
    answer_arena(arena.pk)
    arena.refresh_from_db()
    assert (arena.status, arena.cause) == ("ready", "")
    answers = ArenaAnswer.objects.filter(entrant__arena=arena)
    assert answers.count() == 6 and all(answers.values_list("text", flat=True))
    assert answers.filter(text="Already there.").count() == 1


def test_a_run_scores_every_answer_by_its_preference_models(arena: Arena, team: Team, artifacts: Path) -> None:
    """The run's weights are alike and its scalarization is linear, so the reward is the mean of the scores."""
    arena.scorer = demo_run(team)
    arena.save()
    answer_arena(arena.pk)
    arena.refresh_from_db()
    assert (arena.status, arena.cause) == ("ready", "")
    answers = list(ArenaAnswer.objects.filter(entrant__arena=arena).order_by("entrant", "prompt"))
    assert len(answers) == 6
    for answer in answers:
        assert set(answer.scores) == set(NAMES)
        assert answer.reward == pytest.approx(sum(answer.scores.values()) / len(NAMES), abs=1e-4)
    assert len({answer.reward for answer in answers}) > 1, "another answer has another reward"
    first, second = answers[:3], answers[3:]
    assert [answer.text for answer in first] == [answer.text for answer in second], "one policy under two names"
    assert [answer.scores for answer in first] == [answer.scores for answer in second]


def test_a_scoring_run_whose_files_are_gone_is_said(arena: Arena, team: Team, artifacts: Path) -> None:
    arena.scorer = demo_run(team)
    arena.save()
    (arena.scorer.uses.get(name="weights").stage.folder / "weights.json").unlink()
    answer_arena(arena.pk)
    arena.refresh_from_db()
    assert arena.status == "failed" and arena.cause and arena.remedy
    assert not ArenaAnswer.objects.filter(entrant__arena=arena).exists(), "nothing is stored without its scores"


def test_a_policy_that_is_gone_is_named(arena: Arena) -> None:
    Entrant.objects.create(arena=arena, name="run 7", key="tuned:7")
    answer_arena(arena.pk)
    arena.refresh_from_db()
    assert arena.status == "failed" and "run 7" in arena.cause and arena.remedy


def test_what_the_engine_refuses_is_kept_in_its_words(arena: Arena, team: Team, owner: User) -> None:
    run, _ = make_run(team, owner, until="evaluate")  # its files are not on the disk
    Entrant.objects.create(arena=arena, name="a run", key=f"tuned:{run.pk}")
    answer_arena(arena.pk)
    arena.refresh_from_db()
    assert arena.status == "failed" and "adapter_model.safetensors" in arena.cause
    assert ArenaAnswer.objects.filter(entrant__arena=arena).count() == 6, "the answers of the others are stored"
