"""The review: what staff of a team do there, and that nobody else gets in."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from webapp.accounts.models import Team
from webapp.labels.models import Label, Pair

LABELS, PAIRS = "/review/labels/label/", "/review/labels/pair/"


def page_of(label: Label) -> str:
    return f"{LABELS}{label.pk}/change/"


def test_staff_see_the_teams_labels_and_pairs(reviewer_client: Client, label: Label) -> None:
    for address in (LABELS, PAIRS, f"{LABELS}{label.pk}/history/"):
        assert reviewer_client.get(address).status_code == 200, address
    assert b"What is the capital of Ister?" in reviewer_client.get(LABELS).content


def test_the_first_page_is_the_table_of_labels(reviewer_client: Client, label: Label) -> None:
    assert reviewer_client.get("/review/").url == LABELS


def test_it_links_back_to_every_place_of_concord(reviewer_client: Client, label: Label) -> None:
    page = reviewer_client.get(LABELS).content.decode()
    for address in ("/runs/", "/principles/", "/datasets/", "/labels/", "/judges/", "/playground/", PAIRS):
        assert f'href="{address}"' in page, address


def test_a_label_is_decided_on_the_labels_page_with_the_filter_of_the_list(
        reviewer_client: Client, label: Label) -> None:
    assert reviewer_client.get(page_of(label)).url == f"/labels/{label.pk}/"
    row = reviewer_client.get(f"{LABELS}?principle=factuality&o=4").content.decode()
    link = re.search(rf'href="({page_of(label)}[^"]*)"', row)
    assert link
    assert reviewer_client.get(unescape(link[1])).url == f"/labels/{label.pk}/?principle=factuality"
    assert reviewer_client.get(f"{PAIRS}{label.pair_id}/change/").url == f"/labels/pairs/{label.pair_id}/"


def test_the_page_of_a_row_changes_nothing_by_itself(reviewer_client: Client, label: Label) -> None:
    assert reviewer_client.post(page_of(label), {"action": "b", "judge": "me"}).url == f"/labels/{label.pk}/"
    after = Label.objects.get()
    assert (after.review, after.judge, after.changes.count()) == (Label.Review.OPEN, "rule", 0)


@pytest.mark.parametrize("who", ["anonymous_client", "teammate_client"])
def test_who_is_no_staff_does_not_get_in(who: str, label: Label, request: pytest.FixtureRequest) -> None:
    client: Client = request.getfixturevalue(who)
    for address in ("/review/", LABELS, page_of(label)):
        answer = client.get(address, follow=True)
        assert answer.status_code == 403 or answer.redirect_chain[-1][0].startswith("/login/"), address


def test_staff_of_another_team_find_nothing(strange_reviewer_client: Client, label: Label) -> None:
    for address in (page_of(label), f"{LABELS}{label.pk}/history/", f"{PAIRS}{label.pair_id}/change/",
                    f"{PAIRS}{label.pair_id}/history/"):
        assert strange_reviewer_client.get(address).status_code == 404, address
    assert strange_reviewer_client.post(page_of(label), {"action": "a"}).status_code == 404
    assert b"capital of Ister" not in strange_reviewer_client.get(LABELS).content
    assert b"capital of Ister" not in strange_reviewer_client.get(PAIRS).content
    assert Label.objects.get().review == Label.Review.OPEN


def test_completion_and_search_know_the_own_team_only(strange_reviewer_client: Client, label: Label) -> None:
    for address in ("/review/autocomplete/?app_label=labels&model_name=label&field_name=pair&term=capital",
                    "/review/search/?s=capital", f"{LABELS}?q=capital", f"{PAIRS}?q=capital",
                    f"{LABELS}?pair__id__exact={label.pair_id}"):
        answer = strange_reviewer_client.get(address, follow=True)
        assert b"Ister" not in answer.content, address


def test_bulk_actions_reach_no_label_of_another_team(strange_reviewer_client: Client, label: Label) -> None:
    strange_reviewer_client.post(LABELS, {"action": "approve", "_selected_action": [label.pk]})
    strange_reviewer_client.post(LABELS, {"action": "reject", "_selected_action": [label.pk], "select_across": 1})
    assert Label.objects.get().review == Label.Review.OPEN


def test_filters_offer_only_what_the_team_has(strange_reviewer_client: Client, pair: Pair, make_label) -> None:
    make_label(pair, judge="a-secret-judge")
    assert b"a-secret-judge" not in strange_reviewer_client.get(LABELS).content


def test_selected_labels_and_all_that_match(reviewer_client: Client, team: Team, make_pair, make_label) -> None:
    labels = [make_label(make_pair(team, f"q{number}"), "factuality" if number else "detail") for number in range(4)]
    reviewer_client.post(LABELS, {"action": "approve", "_selected_action": [labels[0].pk]})
    assert list(Label.objects.filter(review="approved")) == [labels[0]]
    reviewer_client.post(f"{LABELS}?principle=factuality",
                         {"action": "reject", "_selected_action": [labels[1].pk], "select_across": 1})
    assert Label.objects.filter(review="rejected").count() == 3
    reviewer_client.post(LABELS, {"action": "take_back", "_selected_action": [label.pk for label in labels]})
    assert Label.objects.filter(review="open").count() == 4


@pytest.mark.parametrize(("query", "count"), [
    ("principle=detail", 1), ("confidence=high", 0), ("orders=flip", 1), ("review=approved", 1), ("dataset=none", 3),
    ("judge=rule", 3), ("q=capital", 3), ("q=nowhere", 0), ("principle=nonsense", 0), ("principle=", 3),
])
def test_the_list_is_filtered(reviewer_client: Client, pair: Pair, make_label, query: str, count: int) -> None:
    make_label(pair, "factuality", 0.6, 0.4)
    make_label(pair, "detail", 0.3, 0.2)
    make_label(pair, "toxicity", 0.7, 0.6, review="approved")
    assert reviewer_client.get(f"{LABELS}?{query}", follow=True).context["cl"].result_count == count


def test_the_list_is_narrow_and_its_queries_do_not_grow(
    reviewer_client: Client, team: Team, make_pair, make_label
) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            reviewer_client.get(LABELS)
        return [query["sql"] for query in captured]

    make_label(make_pair(team, "first"))
    few = queries()
    for number in range(20):
        make_label(make_pair(team, f"more {number}"), "detail" if number % 2 else "toxicity")
    many = queries()
    assert len(many) == len(few)
    assert not any("pairtext" in sql or "statement" in sql for sql in many)


def test_nothing_is_added_or_deleted(reviewer_client: Client, label: Label) -> None:
    for address in (f"{LABELS}add/", f"{PAIRS}add/", f"{LABELS}{label.pk}/delete/", f"{PAIRS}{label.pair_id}/delete/"):
        assert reviewer_client.get(address).status_code == 403, address
    reviewer_client.post(f"{PAIRS}{label.pair_id}/change/", {"excerpt": "mine"})
    assert Pair.objects.get().excerpt == label.pair.excerpt


def test_only_the_review_is_served_as_admin() -> None:
    assert {model._meta.label for model in admin.site._registry} == {"labels.Label", "labels.Pair"}


def test_its_policy_opens_only_what_unfold_needs(reviewer_client: Client, label: Label) -> None:
    policy = reviewer_client.get(LABELS)["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "script-src 'self' 'unsafe-eval' 'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in reviewer_client.get("/labels/")["Content-Security-Policy"]
