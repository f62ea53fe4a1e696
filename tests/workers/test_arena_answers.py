"""A worker makes the answers of an arena with the demo world's policy, in a process of its own."""

from __future__ import annotations

import pytest

from tests.webapp.runs.seeds import make_run
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
