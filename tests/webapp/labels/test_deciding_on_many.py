"""One decision on all labels that match a filter, and its undo."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from webapp.accounts.models import Team
from webapp.labels import services
from webapp.labels.models import Label


@pytest.fixture
def many(team: Team, make_pair, make_label) -> list[Label]:
    pairs = [make_pair(team, f"question {number}") for number in range(6)]
    return [make_label(pair, "factuality", *((0.6, 0.4) if pair == pairs[0] else (0.9, 0.8))) for pair in pairs]


def reviews() -> list[str]:
    return list(Label.objects.order_by("pk").values_list("review", flat=True))


def test_all_that_match_are_approved_and_the_rest_is_left_alone(reviewer_client: Client, many: list[Label]) -> None:
    page = reviewer_client.get("/labels/?orders=agree").content.decode()
    assert "Approve all 5" in page, "the count is said before"
    reviewer_client.post("/labels/review/?orders=agree", {"review": "approved"})
    assert reviews() == ["open"] + ["approved"] * 5


def test_what_was_done_is_taken_back_in_one_go(reviewer_client: Client, many: list[Label]) -> None:
    answer = reviewer_client.post("/labels/review/", {"review": "rejected"})
    batch = parse_qs(urlsplit(answer.url).query)["batch"][0]
    assert reviews() == ["rejected"] * 6
    assert b"Undo the last action" in reviewer_client.get(answer.url).content
    reviewer_client.post("/labels/undo/", {"batch": batch})
    assert reviews() == ["open"] * 6


def test_the_undo_leaves_later_decisions_alone(reviewer_client: Client, many: list[Label]) -> None:
    answer = reviewer_client.post("/labels/review/", {"review": "rejected"})
    reviewer_client.post(f"/labels/{many[2].pk}/judge/", {"action": "b"})
    reviewer_client.post("/labels/undo/", {"batch": parse_qs(urlsplit(answer.url).query)["batch"][0]})
    assert reviews() == ["open", "open", "overridden", "open", "open", "open"]


def test_a_great_number_goes_in_parts(
    reviewer_client: Client, many: list[Label], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_PART", 4)
    reviewer_client.post(f"/labels/{many[1].pk}/judge/", {"action": "tie"})
    answer = reviewer_client.post("/labels/review/", {"review": "rejected"})
    assert reviews() == ["rejected"] * 6
    reviewer_client.post("/labels/undo/", {"batch": parse_qs(urlsplit(answer.url).query)["batch"][0]})
    assert reviews() == ["open", "overridden", "open", "open", "open", "open"]
    assert Label.objects.get(pk=many[1].pk).corrected_probability == 0.5
    assert Label.objects.get(pk=many[1].pk).reviewed_by is not None


def test_labels_without_a_probability_are_not_approved(reviewer_client: Client, many: list[Label]) -> None:
    Label.objects.filter(pk=many[0].pk).update(probability=None)
    reviewer_client.post("/labels/review/", {"review": "approved"})
    assert reviews() == ["open"] + ["approved"] * 5


def test_only_staff_of_the_team_may(
    teammate_client: Client, strange_reviewer_client: Client, many: list[Label]
) -> None:
    assert teammate_client.post("/labels/review/", {"review": "approved"}).status_code == 403
    batch = strange_reviewer_client.post("/labels/review/", {"review": "approved"})
    assert "batch" not in batch.url
    assert reviews() == ["open"] * 6


def test_a_stranger_cannot_take_back_what_the_team_did(
    reviewer_client: Client, strange_reviewer_client: Client, many: list[Label]
) -> None:
    answer = reviewer_client.post("/labels/review/", {"review": "rejected"})
    strange_reviewer_client.post("/labels/undo/", {"batch": parse_qs(urlsplit(answer.url).query)["batch"][0]})
    assert reviews() == ["rejected"] * 6


def test_many_labels_cannot_be_given_one_probability(reviewer_client: Client, many: list[Label]) -> None:
    assert reviewer_client.post("/labels/review/", {"review": "overridden"}).status_code == 403
