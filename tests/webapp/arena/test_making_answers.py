"""The job that makes an arena's answers: asked for in a form, claimed once, canceled, started again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.arena import answering
from webapp.arena.models import Arena, ArenaAnswer
from webapp.datasets.models import Dataset, DatasetRow, DatasetText

FIELDS = {"name": "Two bases", "count": "3", "order": "first", "seed": "1", "lines": "Why?\n\n How? \n",
          "temperature": "0.7", "max_new_tokens": "20", "choice": "active", "overlap_every": "5", "overlap_people": "2"}
Sent = list[tuple[str, tuple[object, ...], str]]


@pytest.fixture
def arena(team: Team, owner: User, owner_client: Client, sent: Sent,
          django_capture_on_commit_callbacks: object) -> Arena:
    """An arena of a run's tuned policy and the demo base on two prompts, just asked for."""
    run, _ = make_run(team, owner, until="evaluate")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        owner_client.post(reverse("arena:new"),
                          FIELDS | {"policies_chosen": [f"tuned:{run.pk}", "base:demo-world"]})  # type: ignore[arg-type]
    return Arena.objects.of(team).get()


def finished(arena: Arena, entrant: int, prompt: int) -> dict[str, object]:
    return {"policy": entrant, "prompt": prompt, "text": "An answer.", "reward": 0.5, "scores": {"honesty": 1.0}}


def test_a_form_asks_the_workers_that_load_models(arena: Arena, sent: Sent) -> None:
    assert sent == [("workers.answer_arena", (arena.pk,), "gpu")]
    assert arena.status == "queued" and arena.entrants.count() == 2
    assert [prompt.prompt[0]["content"] for prompt in arena.prompts.all()] == ["Why?", "How?"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"policies_chosen": ["base:demo-world"]}, "1 chosen: choose 2 to 12 policies"),
    ({"policies_chosen": ["base:demo-world", "tuned:999"]}, "tuned:999 is not one of the available choices"),
    ({"lines": ""}, "Choose a dataset, or give prompts as lines"), ({"temperature": "0"}, "greater than or equal to"),
    ({"count": "x"}, "whole number"), ({"dataset": "999999"}, "not one of the available choices")])
def test_a_wrong_field_is_named(
        changes: dict[str, object], words: str, team: Team, owner_client: Client) -> None:
    page = owner_client.post(reverse("arena:new"), FIELDS | changes)  # type: ignore[arg-type]
    assert words in page.content.decode() and not Arena.objects.exists()


def test_prompts_of_a_dataset_are_the_first_or_drawn_by_a_seed(team: Team) -> None:
    dataset = Dataset.objects.create(team=team, name="Prompts", status=Dataset.Status.READY, rows_good=9)
    for number in range(1, 10):
        row = DatasetRow.objects.create(dataset=dataset, number=number)
        DatasetText.objects.create(row=row, prompt=[{"role": "user", "content": str(number)}])

    def drawn(seed: int | None) -> list[str]:
        return [prompt[0]["content"] for prompt in answering.prompts_of(dataset=dataset, count=3, seed=seed)]

    assert drawn(None) == ["1", "2", "3"]
    assert drawn(4) == drawn(4) != drawn(5) and len(set(drawn(4))) == 3


def test_one_worker_takes_a_job_and_stores_an_answer_once(arena: Arena) -> None:
    claimed = answering.answers_claim(arena_id=arena.pk)
    assert claimed and answering.answers_claim(arena_id=arena.pk) is None
    first, second = arena.entrants.all()
    prompt = arena.prompts.first()
    assert prompt
    for _ in range(2):
        answering.answers_store(arena=claimed, answers=[finished(arena, first.pk, prompt.pk)])
    assert ArenaAnswer.objects.count() == 1
    assert len(answering.missing_prompts(first)) == 1 and len(answering.missing_prompts(second)) == 2
    answering.answers_done(arena=claimed)
    arena.refresh_from_db()
    assert arena.status == "ready"


def test_a_canceled_job_stops_its_worker_and_can_be_started_again(arena: Arena, owner_client: Client) -> None:
    claimed = answering.answers_claim(arena_id=arena.pk)
    assert claimed and answering.answers_seen(arena=claimed)
    owner_client.post(reverse("arena:cancel", args=[arena.pk]))
    assert not answering.answers_seen(arena=claimed)
    answering.answers_done(arena=claimed)  # too late
    arena.refresh_from_db()
    assert arena.status == "stopped"
    owner_client.post(reverse("arena:again", args=[arena.pk]))
    assert answering.answers_claim(arena_id=arena.pk)


def test_a_failed_job_says_why_and_a_silent_one_is_queued_again(arena: Arena, owner_client: Client) -> None:
    claimed = answering.answers_claim(arena_id=arena.pk)
    assert claimed
    Arena.objects.filter(pk=arena.pk).update(seen_at=timezone.now() - timedelta(minutes=3))
    answering.answers_send_again()
    assert not answering.answers_seen(arena=claimed), "another worker may take it"
    claimed = answering.answers_claim(arena_id=arena.pk)
    assert claimed
    answering.answers_failed(arena=claimed, cause="Out of memory.", remedy="Use a smaller base.")
    page = owner_client.get(reverse("arena:board", args=[arena.pk])).content.decode()
    assert "Out of memory." in page and "Use a smaller base." in page and "Make the missing answers" in page


def test_nobody_votes_before_the_answers_are_there(arena: Arena, owner_client: Client) -> None:
    assert "The answers are not ready yet" in owner_client.get(
        reverse("arena:vote", args=[arena.pk])).content.decode()
    progress = owner_client.get(reverse("arena:progress", args=[arena.pk]))
    assert "0 of 4 answers" in progress.content.decode() and "HX-Refresh" not in progress
