"""The ratings of a dataset are kept, said to be about principles, and judges are measured against them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl
from tests.webapp.labels.conftest import MakeLabel, version_of
from training.data.rows import Row
from webapp.accounts.models import Team, User
from webapp.datasets import drafts, services
from webapp.datasets.models import Dataset, RowRatings
from webapp.datasets.selectors import as_jsonl
from webapp.labels import label_quality
from webapp.labels.answers import answers_of
from webapp.labels.models import AspectUse, Label, Pair
from webapp.labels.pairs_from_rows import pairs_from_rows
from webapp.labels.rated_pairs import rated_pairs, with_ratings
from webapp.labels.rating_uses import suggested
from webapp.labels.services import label_override, label_reject
from webapp.principles.models import Principle
from webapp.runs.stage_inputs import dataset_rows


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


def rated_rows(count: int) -> list[dict[str, Any]]:
    """Rows whose chosen response is the more correct one, but for every fourth, and always the wordier one."""
    return [{"prompt": f"Who built mill {n}?", "chosen": f"Odo built {n}.", "rejected": "The wind.",
             "ratings": {"correctness": [1, 3] if n % 4 == 3 else [4, 2], "verbosity": [3, 1]}} for n in range(count)]


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, jsonl(*rated_rows(10)))


def address(dataset: Dataset) -> str:
    return reverse("datasets:ratings", args=[dataset.pk])


def key(team: Team, name: str) -> str:
    return str(Principle.objects.of(team).get(name=name).pk)


def say(client: Client, dataset: Dataset, **fields: str) -> Any:
    """Save the page; aspects are numbered in the order of their names: correctness 0, verbosity 1."""
    return client.post(address(dataset), fields, follow=True)


async def _lines(dataset: Dataset) -> list[bytes]:
    return [part async for part in as_jsonl(dataset=dataset)]


def downloaded(dataset: Dataset) -> bytes:
    return b"".join(async_to_sync(_lines)(dataset))


# Kept -----------------------------------------------------------------------------------------------------------------


def test_ratings_are_imported_shown_and_downloaded(owner_client: Client, team: Team, owner: User,
                                                   dataset: Dataset) -> None:
    assert dataset.aspects == {"correctness": 10, "verbosity": 10} and dataset.ratings_digest
    page = owner_client.get(reverse("datasets:detail", args=[dataset.pk])).content.decode()
    assert "2 aspects" in page
    assert '<th scope="row">correctness</th><td class="num">4</td><td class="num">2</td>' in page

    body = downloaded(dataset)
    assert json.loads(body.splitlines()[3])["ratings"] == {"correctness": [1, 3], "verbosity": [3, 1]}
    again = imported(team, owner, body)
    assert (again.digest, again.ratings_digest) == (dataset.digest, dataset.ratings_digest)
    assert list(dataset_rows(again))[3] == Row(
        [{"role": "user", "content": "Who built mill 3?"}], "Odo built 3.", "The wind.",
        ratings={"correctness": (1, 3), "verbosity": (3, 1)})


def test_ratings_do_not_change_what_runs_know_a_dataset_by(team: Team, owner: User, dataset: Dataset) -> None:
    plain = [{name: value for name, value in row.items() if name != "ratings"} for row in rated_rows(10)]
    unrated = imported(team, owner, jsonl(*plain))
    assert (unrated.digest, unrated.ratings_digest, unrated.aspects) == (dataset.digest, "", {})


def test_a_version_keeps_the_ratings_of_rows_that_are_left_and_edited(
        owner_client: Client, owner: User, dataset: Dataset) -> None:
    owner_client.post(reverse("datasets:row_edit", args=[dataset.pk, 4]),
                      {"message_0": "Who?", "chosen": "You.", "rejected": "Me."})
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number=1))
    version = drafts.draft_save(dataset=dataset, user=owner)
    services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    assert version.aspects == {"correctness": 9, "verbosity": 9}
    rated = RowRatings.objects.get(row__dataset=version, row__number=4)
    assert rated.ratings == {"correctness": [1, 3], "verbosity": [3, 1]}
    assert rated.pair != RowRatings.objects.get(row__dataset=dataset, row__number=4).pair  # its texts are others


def test_a_deleted_dataset_takes_its_ratings_and_their_uses_with_it(
        owner_client: Client, team: Team, dataset: Dataset) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"))
    services.dataset_delete(dataset=dataset)
    assert not RowRatings.objects.exists() and not AspectUse.objects.exists()


# What they are about --------------------------------------------------------------------------------------------------


def test_uses_are_suggested_by_name_and_nothing_is_used_until_saved(
        owner_client: Client, team: Team, dataset: Dataset) -> None:
    page = owner_client.get(address(dataset)).content.decode()
    assert "These are suggestions by name." in page
    assert f'<option value="{key(team, "factuality")}" selected>factuality</option>' in page
    assert 'name="lower_1" aria-label="Lower verbosity is better" id="id_lower_1" checked' in page
    assert not AspectUse.objects.exists() and not rated_pairs(team)


def test_a_suggestion_turns_faults_round_and_gives_no_principle_two_aspects(team: Team) -> None:
    uses = suggested(["Toxicity", "correctness", "truthfulness", "help-fulness", "better", "verbosity", "humour"],
                     Principle.objects.of(team))
    assert {aspect: (use.principle and use.principle.name, use.lower_is_better) for aspect, use in uses.items()} == {
        "Toxicity": ("toxicity", True), "correctness": ("factuality", False), "truthfulness": (None, False),
        "help-fulness": ("helpfulness", False), "better": (None, False), "verbosity": ("conciseness", True),
        "humour": (None, False)}


def test_what_is_saved_is_shown_again_and_can_be_changed(owner_client: Client, team: Team, dataset: Dataset) -> None:
    page = say(owner_client, dataset, principle_0=key(team, "relevance"), lower_0="on").content.decode()
    assert "1 of 2 aspects is used." in page and "Saved" in page and "suggestions" not in page
    correctness, verbosity = AspectUse.objects.of(team)
    assert (correctness.principle.name, correctness.lower_is_better) == ("relevance", True)  # type: ignore[union-attr]
    assert verbosity.principle is None
    say(owner_client, dataset, principle_1=key(team, "relevance"))
    assert [use.aspect for use in AspectUse.objects.exclude(principle=None)] == ["verbosity"]


def test_a_principle_takes_one_aspect(owner_client: Client, team: Team, dataset: Dataset) -> None:
    both = key(team, "factuality")
    page = say(owner_client, dataset, principle_0=both, principle_1=both).content.decode()
    assert "factuality already has the ratings of correctness, and takes one aspect." in page
    assert not AspectUse.objects.exists()


def test_a_principle_of_another_team_is_refused(owner_client: Client, other_team: Team, dataset: Dataset) -> None:
    assert "is not one of the available choices" in say(
        owner_client, dataset, principle_0=key(other_team, "factuality")).content.decode()


def test_a_dataset_without_ratings_says_where_they_come_from(owner_client: Client, team: Team, owner: User) -> None:
    plain = imported(team, owner, jsonl({"prompt": "Who?", "chosen": "Odo.", "rejected": "Me."}))
    assert "No row is rated" in owner_client.get(address(plain)).content.decode()
    assert address(plain) not in owner_client.get(reverse("datasets:detail", args=[plain.pk])).content.decode()


# Judges are measured against them -------------------------------------------------------------------------------------


@pytest.fixture
def pairs(team: Team, dataset: Dataset) -> list[Pair]:
    """The pairs of all ten rows but those kept for evaluation, in the order of their questions."""
    pairs_from_rows(team=team, dataset=dataset, most=10)
    return sorted(Pair.objects.of(team).select_related("text"), key=lambda pair: pair.excerpt)


def lines_of(team: Team) -> list[Any]:
    labels = Label.objects.of(team)
    return with_ratings(label_quality.principles_of(team), answers_of(labels), labels, rated_pairs(team))


def judged(pair: Pair, make_label: MakeLabel, chosen: bool, principle: str = "factuality") -> Label:
    """A label that names the chosen response of the dataset, or the rejected one."""
    names_a = (pair.text.response_a != "The wind.") == chosen
    return make_label(pair, principle, shown=0.9 if names_a else 0.1, swapped=0.9 if names_a else 0.1)


def wrong(pair: Pair) -> bool:
    """Whether the ratings say that the rejected response is the more correct one."""
    return int(pair.excerpt.removeprefix("Who built mill ").rstrip("?")) % 4 == 3


def test_a_judge_is_measured_against_ratings_with_their_source(
        owner_client: Client, team: Team, dataset: Dataset, pairs: list[Pair], make_label: MakeLabel) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"), principle_1=key(team, "conciseness"), lower_1="on")
    for pair in pairs:
        judged(pair, make_label, chosen=True)
        judged(pair, make_label, chosen=True, principle="conciseness")
    n, disagreed = len(pairs), sum(map(wrong, pairs))
    assert n == 8 and disagreed >= 1
    by_principle = {line.principle.name: line for line in lines_of(team)}
    factuality, conciseness = by_principle["factuality"], by_principle["conciseness"]
    assert factuality.second == "ratings of dataset data"
    assert (factuality.agreement.n, factuality.agreement.both_a + factuality.agreement.both_b) == (n, n - disagreed)
    # The chosen response is always the wordier one, and less is better: no rating agrees with the judge.
    assert (conciseness.agreement.n, conciseness.agreement.raw) == (n, 0)
    page = owner_client.get(reverse("labels:quality")).content.decode()
    assert "ratings of dataset data" in page and "chosen in the dataset" in page


def test_an_annotators_decision_wins_over_a_rating_and_stays_apart(
        owner_client: Client, team: Team, owner: User, dataset: Dataset, pairs: list[Pair],
        make_label: MakeLabel) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"))
    labels = [judged(pair, make_label, chosen=not wrong(pair)) for pair in pairs]  # just as the ratings
    line, = lines_of(team)
    assert (line.agreement.n, line.agreement.raw) == (8, 1)
    label_override(label=labels[0], probability=1 - round(labels[0].probability or 0), by=owner)
    label_reject(label=labels[1], by=owner)
    line, = lines_of(team)
    assert (line.agreement.n, line.agreement.raw) == (6, 1)
    reviewed = label_quality.with_people(label_quality.principles_of(team), answers_of(Label.objects.of(team)),
                                         Label.objects.of(team), Pair.objects.none())
    assert [(between.second, between.agreement.n) for between in reviewed] == [(label_quality.NOT_BLIND, 1)]


def test_equal_ratings_name_no_winner_and_unrated_pairs_count_nowhere(
        owner_client: Client, team: Team, owner: User, make_label: MakeLabel) -> None:
    rows = rated_rows(10)
    for row in rows[:5]:
        row["ratings"]["correctness"] = [3, 3]
    for row in rows[5:8]:
        del row["ratings"]["correctness"]
    dataset = imported(team, owner, jsonl(*rows))
    say(owner_client, dataset, principle_0=key(team, "factuality"))
    pairs_from_rows(team=team, dataset=dataset, most=10)
    counted = [pair for pair in Pair.objects.of(team).select_related("text") if pair.excerpt[-2] in "89"]
    for pair in Pair.objects.of(team).select_related("text"):
        judged(pair, make_label, chosen=True)
    assert sum(line.agreement.n for line in lines_of(team)) == len(counted) > 0


def test_a_graded_preference_chooses_by_its_strength(
        owner_client: Client, team: Team, owner: User, make_label: MakeLabel) -> None:
    rows = [{"domain": "general", "language": "english", "context": [{"role": "user", "content": f"Mill {n}?"}],
             "response1": f"Odo {n}.", "response2": "The wind.", "overall_preference": -1} for n in range(6)]
    dataset = imported(team, owner, jsonl(*rows))
    assert dataset.aspects == {"overall_preference": 6}
    say(owner_client, dataset, principle_0=key(team, "helpfulness"))
    pairs_from_rows(team=team, dataset=dataset, most=6)
    for pair in Pair.objects.of(team).select_related("text"):
        judged(pair, make_label, chosen=True, principle="helpfulness")
    line, = lines_of(team)
    assert line.agreement.n == Pair.objects.count() and line.agreement.raw == 1


def test_a_version_has_the_uses_of_the_one_before_it_until_it_has_its_own(
        owner_client: Client, team: Team, owner: User, dataset: Dataset, make_label: MakeLabel) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"))
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number=1))
    version = drafts.draft_save(dataset=dataset, user=owner)
    services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    pairs_from_rows(team=team, dataset=version, most=10)
    for pair in Pair.objects.of(team).select_related("text"):
        judged(pair, make_label, chosen=True)
    page = owner_client.get(address(version)).content.decode()
    assert "As in version 1." in page
    line, = lines_of(team)  # both versions rate the pairs: they count once
    assert line.agreement.n == Pair.objects.count()
    say(owner_client, version, principle_1=key(team, "factuality"))  # the newest version counts: now verbosity
    line, = lines_of(team)
    assert line.agreement.raw == 1


def test_more_rows_take_no_more_queries(owner_client: Client, team: Team, owner: User, make_label: MakeLabel) -> None:
    def queries(rows: int) -> int:
        dataset = imported(team, owner, jsonl(*rated_rows(rows)))
        say(owner_client, dataset, principle_0=key(team, "factuality"))
        pairs_from_rows(team=team, dataset=dataset, most=rows)
        for pair in Pair.objects.filter(labels=None).select_related("text"):
            judged(pair, make_label, chosen=True)
        with CaptureQueriesContext(connection) as captured:
            assert owner_client.get(reverse("labels:quality")).status_code == 200
        return len(captured)

    assert queries(8) == queries(30)


def test_another_team_sees_nothing_of_them(owner_client: Client, team: Team, other_team: Team, dataset: Dataset,
                                           pairs: list[Pair]) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"))
    assert rated_pairs(team) and not rated_pairs(other_team)
    assert version_of(team, "factuality").principle_id == rated_pairs(team)[0].principle
