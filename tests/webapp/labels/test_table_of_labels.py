"""The table on the Labels page: what it shows, and what its filter finds."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.labels.models import Label, Pair
from webapp.labels.selectors import labels_of
from webapp.runs.models import Run, RunStage, Stage


def shown(client: Client, query: str = "") -> list[int]:
    """Ids of the labels in the table."""
    response = client.get(f"/labels/?{query}")
    assert response.status_code == 200
    return [label.pk for label in response.context["page"]]


def test_a_member_sees_the_teams_labels(teammate_client: Client, label: Label) -> None:
    page = teammate_client.get("/labels/").content.decode()
    assert "What is the capital of Ister?" in page
    assert "A better with probability 0.80" in page


def test_a_stranger_sees_none_of_them(stranger_client: Client, label: Label) -> None:
    assert shown(stranger_client) == []
    assert b"No labels yet" in stranger_client.get("/labels/").content


def test_who_is_not_logged_in_is_sent_to_the_login(anonymous_client: Client) -> None:
    assert anonymous_client.get("/labels/").url.startswith("/login/")


def test_it_filters_by_principle_confidence_orders_review_and_judge(
    owner_client: Client, pair: Pair, make_label
) -> None:
    sure = make_label(pair, "factuality", 0.95, 0.93)
    torn = make_label(pair, "toxicity", 0.6, 0.4)
    approved = make_label(pair, "detail", 0.2, 0.3, review="approved", judge="openai:small")
    broken = make_label(pair, "empathy", None, None, probability=None, error="The judge did not answer.")
    assert shown(owner_client, "principle=factuality") == [sure.pk]
    assert shown(owner_client, "confidence=high") == [sure.pk]
    assert shown(owner_client, "confidence=low") == [torn.pk]
    assert shown(owner_client, "confidence=error") == [broken.pk]
    assert shown(owner_client, "orders=flip") == [torn.pk]
    assert shown(owner_client, "orders=agree") == [approved.pk, sure.pk]
    assert shown(owner_client, "review=approved") == [approved.pk]
    assert shown(owner_client, "judge=openai:small") == [approved.pk]
    assert shown(owner_client, "orders=agree&principle=detail") == [approved.pk]


def test_it_filters_by_words_and_by_dataset(owner_client: Client, team: Team, make_pair, make_label) -> None:
    dataset = Dataset.objects.create(team=team, name="harmless")
    mine = make_label(make_pair(team, "How do I boil an egg?", dataset=dataset))
    demo = make_label(make_pair(team, "Which bird is that?"))
    assert shown(owner_client, "q=EGG") == [mine.pk]
    assert shown(owner_client, f"dataset={dataset.pk}") == [mine.pk]
    assert shown(owner_client, "dataset=none") == [demo.pk]


def test_it_filters_by_the_run_that_asked(owner_client: Client, team: Team, pair: Pair, make_label) -> None:
    asked, other = make_label(pair, "factuality"), make_label(pair, "toxicity")
    run = Run.objects.create(team=team, name="demo", recipe={})
    settings = {"statement": asked.principle_version.statement}
    stage = Stage.objects.create(team=team, identity="1" * 64, name="label:factuality", kind="label",
                                 principle="factuality", settings=settings)
    RunStage.objects.create(run=run, stage=stage, name=stage.name, position=0)
    assert shown(owner_client, f"run={run.pk}") == [asked.pk]
    assert other.pk in shown(owner_client)


def test_another_teams_run_in_the_address_is_as_unknown_as_one_that_never_was(
    owner_client: Client, label: Label, other_team: Team
) -> None:
    theirs = Run.objects.create(team=other_team, name="theirs", recipe={})
    stage = Stage.objects.create(team=other_team, identity="1" * 64, name="label:factuality", kind="label",
                                 principle=label.principle_version.principle.name,
                                 settings={"statement": label.principle_version.statement})
    RunStage.objects.create(run=theirs, stage=stage, name=stage.name, position=0)
    assert not labels_of(label.team, {"run": str(theirs.pk)}).exists()
    for query in (f"run={theirs.pk}", f"run={theirs.pk + 1000}", "dataset=999", "principle=nonsense"):
        assert shown(owner_client, query) == []
        assert "your team has no" in owner_client.get(f"/labels/?{query}").content.decode()


def test_the_least_sure_come_first_when_asked(owner_client: Client, pair: Pair, make_label) -> None:
    sure, torn = make_label(pair, "factuality", 0.9, 0.9), make_label(pair, "toxicity", 0.5, 0.5)
    assert shown(owner_client, "sort=unsure") == [torn.pk, sure.pk]
    assert shown(owner_client, "sort=sure") == [sure.pk, torn.pk]


def test_each_principle_has_a_line_of_quality(owner_client: Client, team: Team, make_pair, make_label) -> None:
    for number, (p_shown, p_swapped) in enumerate([(0.9, 0.7), (0.6, 0.4), (0.2, 0.2), (None, None)]):
        make_label(make_pair(team, f"question {number}"), "factuality", p_shown, p_swapped)
    Label.objects.filter(confidence__gt=0.55).update(review="approved")
    line, = owner_client.get("/labels/").context["quality"]
    assert (line.principle.name, line.n, line.errors, line.reviewed) == ("factuality", 4, 1, 2)
    assert line.flip_rate == pytest.approx(1 / 3)
    assert line.confidence == pytest.approx((0.6 + 0.0 + 0.6) / 3)


def test_the_number_of_queries_does_not_grow_and_texts_are_not_fetched(
    owner_client: Client, team: Team, make_pair, make_label
) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection, ) as captured:
            owner_client.get("/labels/?sort=unsure")
        return [query["sql"] for query in captured]

    make_label(make_pair(team, "first"))
    few = queries()
    for number in range(30):
        make_label(make_pair(team, f"more {number}"), "toxicity" if number % 2 else "detail")
    many = queries()
    assert len(many) == len(few)
    assert not any("pairtext" in sql or "statement" in sql for sql in many)


def test_a_long_table_has_pages_and_keeps_its_filter(owner_client: Client, team: Team, make_pair, make_label) -> None:
    for number in range(60):
        make_label(make_pair(team, f"question {number}"))
    first = owner_client.get("/labels/?principle=factuality")
    assert len(first.context["page"]) == 50
    assert b"principle=factuality&amp;page=2" in first.content
    assert len(shown(owner_client, "principle=factuality&page=2")) == 10
