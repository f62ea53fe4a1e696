"""The list is filtered in words: by settings, results, tags, people and time; what cannot be answered is said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunTag
from webapp.runs.run_values import store_values


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate(shipped_recipe("demo").model_dump(mode="json") | changes)


@pytest.fixture
def runs(team: Team, owner: User, teammate: User) -> dict[str, Run]:
    """red: linear, won, tagged, by the owner; blue: worst case, failed, by the teammate; green: archived."""
    red, stages = make_run(team, owner, name="red run", until="", status=Run.Status.SUCCEEDED, recipe=recipe(seed=1))
    add_points(stages["ppo"], "reward/total", [1, 2], [3.0, 1.5])
    add_points(stages["ppo"], "kl/mean", [1, 2], [1.0, 6.0])
    finish(stages)
    blue, _ = make_run(team, teammate, name="blue run", status=Run.Status.FAILED, recipe=recipe(
        scalarization={"function": "worst_case"}, principles=[{"name": "toxicity"}], sft={"enabled": True}))
    green, _ = make_run(team, owner, name="green run", status=Run.Status.SUCCEEDED, recipe=recipe(seed=2))
    Run.objects.filter(pk=green.pk).update(archived=True, starred=True)
    Run.objects.filter(pk=red.pk).update(finished_at=red.created_at + timedelta(minutes=90))
    Run.objects.filter(pk=blue.pk).update(created_at=timezone.now() - timedelta(days=40), finished_at=None,
                                          note="Too much water in it")
    RunTag.objects.create(run=red, name="paper")
    store_values(list(Run.objects.all()))
    return {"red": red, "blue": blue, "green": green}


@pytest.mark.parametrize(("query", "names"), [
    ("run", ["blue", "red"]),
    ("water", ["blue"]),
    ("PAP", ["red"]),
    ('"much water"', ["blue"]),
    ('"water much"', []),
    ("water much", ["blue"]),
    ("-water", ["red"]),
    ("tag:Paper", ["red"]),
    ("-tag:paper", ["blue"]),
    ("status:failed", ["blue"]),
    ("status:done", ["red"]),
    ("by:TEAMMATE", ["blue"]),
    ("principle:toxicity", ["blue", "red"]),
    ("principle:conciseness", ["red"]),
    ("archived", ["green"]),
    ("-archived run", ["blue", "red"]),
    ("starred archived", ["green"]),
    ("scalarization=linear", ["red"]),
    ("scalarization.function!=linear", ["blue"]),
    ("function~WORST", ["blue"]),
    ("sft.enabled=true", ["blue"]),
    ("kl.target>2", ["blue", "red"]),
    ("ppo.kl.target=2.5", ["blue", "red"]),
    ("lr>=1e-3", ["blue", "red"]),
    ("lr>1e-3", []),
    ("reward>1", ["red"]),
    ("reward>2", []),
    ("best.reward>2", ["red"]),
    ("kl<8", ["red"]),
    ("-kl<8", ["blue"]),
    ("win>80%", ["red"]),
    ("win>0.82", []),
    ("win=none", ["blue"]),
    ("win.high<=0.9", ["red"]),
    ("duration>1h", ["red"]),
    ("duration<=30m", []),
    ("seeds>=2", ["red"]),
    ("seeds=1", ["blue"]),
    ("started<2026-01-01", []),
    ("principles.toxicity.weight=1", ["blue", "red"]),
    ("scalarization=linear win>0.6 tag:paper principle:toxicity by:owner status:done -archived kl<8", ["red"]),
])
def test_it_filters_in_words(owner_client: Client, runs: dict[str, Run], query: str, names: list[str]) -> None:
    answer = owner_client.get("/runs/", {"q": query})
    assert answer.context["problems"] == []
    assert sorted(row.run.name.split()[0] for row in answer.context["rows"]) == names


def test_a_date_is_a_whole_day(owner_client: Client, runs: dict[str, Run]) -> None:
    day = timezone.localtime(runs["red"].created_at).date()
    for query, count in ((f"started={day}", 1), (f"started>{day}", 0), (f"started>={day}", 1), (f"started<{day}", 1)):
        assert len(owner_client.get("/runs/", {"q": query}).context["rows"]) == count, query


@pytest.mark.parametrize(("query", "says"), [
    ("kl.targt>2", "Did you mean"),
    ("nothing.like.it=1", "No run has a field"),
    ("learning_rate>0", "the end of several fields"),
    ("status:broken", "Write one of queued, paused"),
    ("principle:nonsense", "Principles of runs: conciseness"),
    ("kl>high", "is no number"),
    ("kl>1e999", "is no number"),
    ("duration>soon", "such as 2h"),
    ("started>yesterday", "is no date"),
    ("name>a", "has no order"),
    ("tags=paper", "Write tag:paper"),
    ("label:x", "there is no 'label'"),
    ("x" * 1001, "only the first 1,000 were read"),
])
def test_what_cannot_be_answered_is_said_and_the_list_stays(
    owner_client: Client, runs: dict[str, Run], query: str, says: str,
) -> None:
    answer = owner_client.get("/runs/", {"q": query})
    assert answer.status_code == 200
    assert len(answer.context["problems"]) == 1 and says in answer.context["problems"][0]
    if len(query) < 1000:
        assert len(answer.context["rows"]) == 2
        assert "Part of this filter was left out" in answer.content.decode()


def test_a_strangers_fields_are_their_own(stranger_client: Client, runs: dict[str, Run], other_team: Team) -> None:
    answer = stranger_client.get("/runs/", {"q": "ppo.kl.target>2"})
    assert "No run has a field" in answer.context["problems"][0]
    assert "Did you mean" not in answer.context["problems"][0]


def test_more_runs_take_no_more_queries(
    owner_client: Client, team: Team, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(4):
        run, stages = make_run(team, owner, name=f"run {number}")
        fill(stages, 5)
        store_values([run])
    counts = []
    for query in ("name=\"run 0\" kl<100", "run kl<100 principle:toxicity"):
        with django_assert_max_num_queries(40) as queries:
            assert owner_client.get("/runs/", {"q": query}).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
