"""Pairs are found by the words of prompt and responses, and by their likeness to another pair, on either database."""

from __future__ import annotations

import math

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.labels.conftest import MakeLabel, MakePair
from webapp.accounts.models import Team
from webapp.labels import pair_search, selectors
from webapp.labels.models import Pair, PairText, PairWords
from webapp.labels.pair_search import has_index, similar_pairs, words_in, words_of, words_restore
from workers.labels import record_pairs


@pytest.fixture(params=["with the index", "without FTS5"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "without FTS5":
        monkeypatch.setattr(pair_search, "has_index", lambda: False)
    return str(request.param)


def found(team: Team, query: str) -> list[str]:
    labels = selectors.labels_of(team, {"q": query}).order_by("pair_id")
    return list(labels.values_list("pair__excerpt", flat=True))


@pytest.mark.parametrize(("text", "words"), [
    ("It's CAFÉ time, time!", ["it", "s", "café", "time"]), ("Straße 12", ["strasse", "12"]),
    ("snake_case a.b", ["snake", "case", "a", "b"]), ("水はどこ", ["水", "は", "ど", "こ"]), ("?!", [])])
def test_words_are_letters_and_digits_in_any_case(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@pytest.mark.django_db
def test_the_databases_of_the_tests_have_an_index() -> None:
    assert has_index()


@pytest.mark.django_db
@pytest.mark.parametrize(("query", "excerpts"), [
    ("owl", ["Birds"]), ("OWL harbour", ["Birds"]), ("har", ["Birds", "Ships"]), ("bour", []), ("owl ships", []),
    ("Élan", ["Ships"]), ("élan", ["Ships"]), ("\"owl\" OR NOT *", []), ("水", ["Rivers"]), ("birds", ["Birds"]),
    ("'; DROP", []), ("a" * 90, [])])
def test_labels_are_found_by_words_of_prompt_and_responses(
        query: str, excerpts: list[str], database: str, team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    make_label(make_pair(team, "Birds", "The owl of the harbour.", "None."))
    make_label(make_pair(team, "Ships", "Three in the harbour.", "With élan."))
    make_label(make_pair(team, "Rivers", "水は北", "None."))
    assert found(team, query) == excerpts


@pytest.mark.django_db
def test_a_query_without_a_word_is_looked_for_in_the_prompts(
        team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    make_label(make_pair(team, "Why?!", "Because."))
    make_label(make_pair(team, "Tell me.", "No?!"))
    assert found(team, "?!") == ["Why?!"]


@pytest.mark.django_db
def test_the_index_follows_what_is_changed_and_deleted(team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    first, second = make_pair(team, "One", "An owl."), make_pair(team, "Two", "An owl too.")
    make_label(first), make_label(second)
    PairWords.objects.filter(pair=first).update(words="heron")
    assert found(team, "heron") == ["One"] and found(team, "owl") == ["Two"]
    second.labels.all().delete()
    second.delete()
    assert found(team, "owl") == []
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":  # FTS5 compares its index with the table, and raises where they differ
            cursor.execute("INSERT INTO labels_pairsearch(labels_pairsearch, rank) VALUES ('integrity-check', 1)")


@pytest.mark.django_db
def test_the_rarest_words_make_pairs_alike(database: str, team: Team, make_pair: MakePair) -> None:
    own = make_pair(team, "the owl", "the lantern", "the sea")
    near = make_pair(team, "the owl", "the lantern", "the hill")
    far = make_pair(team, "the sea", "the road", "the tower")
    common = make_pair(team, "the wall", "the gate", "the roof")
    words = PairWords.objects.get(pair=own).words.split()
    results = similar_pairs(team=team, words=words, most=10, other_than=own.pk)
    assert [result.pair for result in results] == [near, far, common]
    # Four pairs: "the" is in 4, "owl", "lantern" and "sea" in 2 each, own and another.
    the, two = math.log(5 / 4.5), math.log(5 / 2.5)
    norm, mean = math.sqrt(the**2 + 3 * two**2), (the**2 + 3 * two**2) / 4
    assert results[0].likeness == pytest.approx((the**2 + 2 * two**2) / norm / math.sqrt(the**2 + 2 * two**2 + mean))
    assert results[0].shared == ["lantern", "owl", "the"]
    assert results[2].likeness < 0.02 < 0.3 < results[1].likeness, "“the” says next to nothing"


@pytest.mark.django_db
def test_a_copy_is_the_most_alike(team: Team, make_pair: MakePair) -> None:
    own, copy = (make_pair(team, f"Question {number}", "An owl by the water.", "A gull.") for number in (1, 2))
    make_pair(team, "Question 3", "A gull by the road.", "A dog.")
    words = PairWords.objects.get(pair=own).words.split()
    best = similar_pairs(team=team, words=words, most=1, other_than=own.pk)[0]
    assert best.pair == copy
    assert similar_pairs(team=team, words=words, most=1)[0].likeness == pytest.approx(1.0), "itself"


@pytest.mark.django_db
def test_another_teams_pairs_are_never_found(
        team: Team, other_team: Team, make_pair: MakePair, owner_client: Client) -> None:
    own, theirs = make_pair(team, "Where is the owl?"), make_pair(other_team, "Where is the secret owl?")
    page = owner_client.get(f"/labels/find/?like={own.pk}").content.decode()
    assert "secret" not in page and "No pair is like it" in page
    assert "secret" not in owner_client.get("/labels/find/?q=owl").content.decode().replace("secret owl", "secret")
    assert owner_client.get(f"/labels/find/?like={theirs.pk}").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["like=", "like=x", "like=99999999999999999999", "like=-1", "like=1%00"])
def test_an_odd_pair_is_a_404(query: str, owner_client: Client) -> None:
    assert owner_client.get(f"/labels/find/?{query}").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize(("query", "words"), [
    ("q=owl", "The owl?"), ("q=%3F%3F", "There is no word in it"), ("", "Give some words"),
    ("q=nowhere", "No pair is like it"), ("q=" + "x" * 5000, "No pair is like it"), ("q=%00owl", "The owl?")])
def test_the_page_says_what_it_found(query: str, words: str, team: Team, make_pair: MakePair,
                                     owner_client: Client) -> None:
    make_pair(team, "The owl?", "Yes.", "No.")
    answer = owner_client.get(f"/labels/find/?{query}")
    assert answer.status_code == 200 and words in answer.content.decode()


@pytest.mark.django_db
def test_a_pairs_page_and_the_list_lead_to_the_search(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    label = make_label(make_pair(team))
    assert f"/labels/find/?like={label.pair_id}" in owner_client.get(f"/labels/{label.pk}/").content.decode()
    assert "/labels/find/?q=capital" in owner_client.get("/labels/?q=capital").content.decode()


@pytest.mark.django_db
def test_the_page_runs_no_more_queries_with_more_pairs(
        team: Team, make_pair: MakePair, owner_client: Client) -> None:
    own = make_pair(team, "The owl?")
    counts = []
    for number in (2, 20):
        for each in range(number):
            make_pair(team, f"The owl and {number} {each}?")
        owner_client.get(f"/labels/find/?like={own.pk}")
        with CaptureQueriesContext(connection) as queries:
            owner_client.get(f"/labels/find/?like={own.pk}")
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.django_db
def test_words_are_made_again_after_a_backup(team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    make_label(make_pair(team, "The owl?"))
    before = list(PairWords.objects.values_list("pair", "words"))
    PairWords.objects.all().delete()
    assert found(team, "owl") == []
    words_restore()
    words_restore()
    assert list(PairWords.objects.values_list("pair", "words")) == before and found(team, "owl") == ["The owl?"]


@pytest.mark.django_db
def test_words_of_a_pair_are_those_of_all_its_texts(team: Team, make_pair: MakePair) -> None:
    text = PairText.objects.get(pair=make_pair(team, "Owl?", "Gull.", "Owl, heron."))
    assert words_of(text.prompt, text.response_a, text.response_b) == "owl gull heron"
    assert Pair.objects.count() == 1


@pytest.mark.django_db
def test_what_a_run_records_is_found(team: Team, make_label: MakeLabel) -> None:
    prompt = [{"role": "user", "content": "Where is the owl?"}]
    rows = [{"digest": "d" * 32, "prompt": prompt, "a": "In the Tower.", "b": "Nowhere."}]
    for _ in range(2):  # a stage that goes on records its pairs again
        keys = record_pairs(team_id=team.pk, dataset=None, rows=rows)
    make_label(Pair.objects.get(pk=keys["d" * 32]))
    assert found(team, "tower owl") == ["Where is the owl?"]
