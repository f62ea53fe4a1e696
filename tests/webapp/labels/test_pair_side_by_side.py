"""A pair and its labels on one page."""

from __future__ import annotations

import re

from django.db import connection
from django.test import Client

from webapp.accounts.models import Team
from webapp.labels import selectors
from webapp.labels.differences import marked
from webapp.labels.models import Label, Pair


def test_it_shows_the_prompt_both_answers_and_every_label(
    owner_client: Client, pair: Pair, label: Label, make_label
) -> None:
    other = make_label(pair, "toxicity", 0.1, 0.2)
    page = owner_client.get(f"/labels/{label.pk}/").content.decode()
    assert "What is the capital of Ister?" in page
    assert "<mark>Marrow</mark>" in page
    assert "<mark>Wexby</mark>" in page
    assert f"/labels/{other.pk}/" in page
    assert page.count('class="order"') == 6, "both orders of the label in hand and of both labels in the list"


def test_the_labels_of_a_pair_are_found_by_the_pair(pair: Pair, label: Label) -> None:
    plan = selectors.labels_on(pair).explain()
    assert "(pair_id=?)" in plan or connection.vendor != "sqlite", "not by the index of the team, which has them all"
    assert list(selectors.labels_on(pair)) == [label]


def test_texts_are_shown_as_texts(owner_client: Client, team: Team, make_pair, make_label) -> None:
    nasty = make_pair(team, "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "plain")
    page = owner_client.get(f"/labels/{make_label(nasty).pk}/").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_nothing_on_it_is_styled_or_scripted_inline(owner_client: Client, label: Label) -> None:
    for address in ("/labels/", f"/labels/{label.pk}/"):
        page = owner_client.get(address).content.decode()
        assert not re.search(r"<[^>]+\s(style|on\w+)=", page)
        assert not re.search(r"<script(?![^>]*src=)", page)


def test_the_next_and_the_one_before_follow_the_filter(owner_client: Client, team: Team, make_pair, make_label) -> None:
    oldest, hidden, newest = (make_label(make_pair(team, f"q{n}"), name)
                              for n, name in enumerate(["factuality", "toxicity", "factuality"]))
    page = owner_client.get(f"/labels/{newest.pk}/?principle=factuality")
    assert page.context["after"] == f"/labels/{oldest.pk}/?principle=factuality"
    assert page.context["before"] == ""
    assert owner_client.get(f"/labels/{hidden.pk}/").context["after"] == f"/labels/{oldest.pk}/"


def test_by_confidence_the_neighbours_are_the_next_in_confidence(
    owner_client: Client, team: Team, make_pair, make_label
) -> None:
    sure, torn, fair = (make_label(make_pair(team, f"q{n}"), "factuality", p, p) for n, p in enumerate([0.9, 0.5, 0.7]))
    page = owner_client.get(f"/labels/{fair.pk}/?sort=unsure")
    assert page.context["before"] == f"/labels/{torn.pk}/?sort=unsure"
    assert page.context["after"] == f"/labels/{sure.pk}/?sort=unsure"
    assert owner_client.get(f"/labels/{fair.pk}/?sort=sure").context["after"] == f"/labels/{torn.pk}/?sort=sure"


def test_the_pairs_own_address_opens_its_first_label(owner_client: Client, team: Team, label: Label, make_pair) -> None:
    assert owner_client.get(f"/labels/pairs/{label.pair_id}/").url == f"/labels/{label.pk}/"
    bare = make_pair(team, "nobody labelled me")
    assert b"No judge has labelled this pair" in owner_client.get(f"/labels/pairs/{bare.pk}/").content


def test_a_stranger_finds_neither(stranger_client: Client, label: Label) -> None:
    assert stranger_client.get(f"/labels/{label.pk}/").status_code == 404
    assert stranger_client.get(f"/labels/pairs/{label.pair_id}/").status_code == 404


def test_differences_are_marked_word_by_word_and_lose_nothing() -> None:
    a, b = "It is  Marrow, my friend.", "It is Wexby, my friend!"
    pieces_a, pieces_b = marked(a, b)
    assert "".join(text for text, _ in pieces_a) == a
    assert "".join(text for text, _ in pieces_b) == b
    assert [text for text, differs in pieces_b if differs] == [" Wexby", "!"]


def test_answers_that_share_little_are_shown_unmarked() -> None:
    a, b = "Lions live in the savanna of Africa.", "Bake it for an hour at medium heat, then rest it."
    assert marked(a, b) == ([(a, False)], [(b, False)])
    mostly_shared = marked("Lions live in the savanna of Africa.", "Lions live in the forests of Asia.")
    assert [text for text, differs in mostly_shared[1] if differs] == ["forests", "Asia"]


def test_earlier_messages_of_a_long_dialogue_are_folded(
    owner_client: Client, team: Team, make_pair, make_label
) -> None:
    long = make_pair(team)
    long.text.prompt = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "How can I help?"},
                        {"role": "user", "content": "What is the capital?"}]
    long.text.save()
    page = owner_client.get(f"/labels/{make_label(long).pk}/").content.decode()
    folded = re.search(r"<details class=\"earlier\">(.*?)</details>", page, re.DOTALL)
    assert folded and "2 earlier messages" in folded[1] and "How can I help?" in folded[1]
    assert "What is the capital?" not in folded[1]
    assert "earlier message" not in owner_client.get(f"/labels/{make_label(make_pair(team, 'q')).pk}/").content.decode()


def test_texts_too_long_to_compare_are_shown_unmarked() -> None:
    long = "word " * 4000
    assert marked(long, "short") == ([(long, False)], [("short", False)])
