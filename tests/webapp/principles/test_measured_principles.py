"""A measured principle is defined on a page: each kind with its own fields, mistakes at their fields, versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from training.config.recipe import PrincipleChoice
from webapp.accounts.models import Team
from webapp.principles import measure_fields
from webapp.principles.measures import TITLES, in_words, kinds, own_fields, read_measure, statement_of
from webapp.principles.models import Principle, PrincipleVersion
from webapp.principles.services import principle_edit

pytestmark = pytest.mark.once  # forms and their words do not depend on the database

NEW = {"name": "brevity", "source": "measured", "kind": "words", "toward": "low", "softness": "0", "polarity": "virtue",
       "description": "", "symbol": "★", "hue": "#228833"}


def define(client: Client, **changes: str) -> PrincipleVersion:
    answer = client.post(reverse("principles:new"), NEW | changes)
    assert answer.status_code == 302, answer.context["form"].errors
    return PrincipleVersion.objects.select_related("principle").latest("pk")


def test_a_measure_is_stored_with_the_version_and_shown_where_a_wording_would_be(owner_client: Client) -> None:
    version = define(owner_client)

    assert version.measure == {"kind": "words", "toward": "low"} and version.statement == "lower in words"
    page = owner_client.get(reverse("principles:detail", args=[version.principle_id])).content.decode()
    assert "<strong>words, lower is better</strong>" in page and "How many words the response has." in page
    assert "Which response is <strong>" not in page and "Compare wordings" not in page
    assert "Measured: words, lower is better" in owner_client.get(reverse("principles:list")).content.decode()


@pytest.mark.parametrize(("kind", "typed", "stored"), [
    ("sentences", {}, {}), ("reading_ease", {}, {}), ("sentiment", {}, {}), ("profanity", {}, {}), ("refusal", {}, {}),
    ("longest_repeat", {}, {}), ("distinct_ngrams", {"n": "3"}, {"n": 3}), ("distinct_ngrams", {"n": ""}, {}),
    ("json", {"top": "object"}, {"top": "object"}),
    ("pattern", {"pattern": r" \d+ ", "whole": "on"}, {"pattern": r" \d+ ", "whole": True}),
    ("phrases", {"phrases": "for example\r\n\r\n  such as "}, {"phrases": ["for example", "such as"]}),
    ("similarity", {"reference": "one\r\ntwo", "by": "words"}, {"reference": "one\ntwo", "by": "words"}),
    ("exact", {"answer": "Paris"}, {"answer": "Paris"}),
    ("number", {"answer": "42", "tolerance": "0.5"}, {"answer": 42.0, "tolerance": 0.5}),
    ("number", {"answer_from": "data"}, {"answer_from": "data"}),
    ("similarity", {"answer_from": "data", "by": "words"}, {"answer_from": "data", "by": "words"}),
])
def test_each_kind_has_its_fields(owner_client: Client, kind: str, typed: dict[str, str], stored: Any) -> None:
    fields = {f"{kind}__{name}": text for name, text in typed.items()}
    version = define(owner_client, kind=kind, toward="high", **fields)
    assert version.measure == {"kind": kind} | stored

    edit = owner_client.get(reverse("principles:edit", args=[version.principle_id]))
    form = edit.context["form"]
    again = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    assert owner_client.post(edit.request["PATH_INFO"], again).status_code == 302
    assert version.principle.versions.count() == 1, "what the form shows is what is stored"


def test_every_kind_has_a_sentence_and_its_place_in_the_stylesheet() -> None:
    assert set(TITLES) == set(kinds())
    styles = (Path(settings.BASE_DIR) / "webapp/static/css/data.css").read_text()
    for kind in kinds():
        if own_fields(kind) and kind != "added":
            assert f'[value="{kind}"]:checked) .of-{kind}' in styles


@pytest.mark.parametrize(("changes", "field", "words"), [
    ({"kind": "pattern"}, "pattern__pattern", "This field is needed"),
    ({"kind": "pattern", "pattern__pattern": "(a"}, "pattern__pattern", "This field is no regular expression"),
    ({"kind": "phrases", "phrases__phrases": "\n"}, "phrases__phrases", "This field needs at least 1"),
    ({"kind": "phrases", "phrases__phrases": "ok\n" + "x" * 201}, "phrases__phrases", "Line 2 must have at most 200"),
    ({"kind": "distinct_ngrams", "distinct_ngrams__n": "9"}, "distinct_ngrams__n", "must be at most 8 (given: '9')"),
    ({"kind": "number", "number__answer": "many"}, "number__answer", "This field must be a number (given: 'many')"),
    ({"kind": "number"}, "number__answer", "This field needs 'answer', one for all prompts, or 'answer_from: data'"),
    ({"kind": "exact", "exact__answer": "yes", "exact__answer_from": "data"}, "exact__answer",
     "This field has 'answer_from: data' and 'answer' too; remove one"),
    ({"softness": "-1"}, "softness", "This field must be at least 0"),
    ({"softness": "soft"}, "softness", "This field must be a number"),
    ({"kind": "beauty"}, "kind", "beauty is not one of the available choices"),
    ({"kind": "added:absent"}, "kind", "not one of the available choices"),
    ({"toward": "up"}, "toward", "not one of the available choices"),
])
def test_a_mistake_is_named_at_its_field(owner_client: Client, changes: dict[str, str], field: str, words: str) -> None:
    answer = owner_client.post(reverse("principles:new"), NEW | changes)

    assert answer.status_code == 200 and list(answer.context["form"].errors) == [field]
    assert words in str(answer.context["form"].errors[field]).replace("&#x27;", "'")
    assert not Principle.objects.filter(name="brevity").exists()


def test_fields_of_other_kinds_and_a_wording_do_not_matter(owner_client: Client) -> None:
    version = define(owner_client, pattern__pattern="(a", statement="shorter")
    assert version.measure == {"kind": "words", "toward": "low"} and version.statement == "lower in words"


def test_another_measure_makes_a_version_and_the_same_one_none(owner_client: Client) -> None:
    principle = define(owner_client).principle
    edit = reverse("principles:edit", args=[principle.pk])

    owner_client.post(edit, NEW | {"description": "short"})
    assert principle.versions.count() == 1
    owner_client.post(edit, NEW | {"softness": "5"})
    owner_client.post(edit, NEW | {"source": "judged", "statement": "shorter"})

    versions = [(version.number, version.statement, version.measure)
                for version in principle.versions.order_by("number")]
    assert versions == [(1, "lower in words", {"kind": "words", "toward": "low"}),
                    (2, "lower in words (softness: 5)", {"kind": "words", "toward": "low", "softness": 5.0}),
                    (3, "shorter", None)]
    again = owner_client.get(f"{edit}?from=2").context["form"]
    assert (again["source"].value(), again["softness"].value(), again["statement"].value()) == ("measured", 5.0, "")


def test_a_wording_that_reads_like_a_measure_is_another_version(owner_client: Client, owner: Any) -> None:
    principle = define(owner_client).principle
    assert principle_edit(principle=principle, user=owner, statement="lower in words", polarity="virtue",
                          description="", symbol="★", hue="#228833")


def test_the_wording_of_a_plain_measure_is_that_of_a_recipe(team: Team) -> None:
    """So labels of a recipe in YAML and of one from the form are kept under the same version."""
    for kind in ("words", "reading_ease", "json"):
        measure = read_measure({"kind": kind, "toward": "low"})
        assert statement_of(measure) == PrincipleChoice(name="x", measure=measure).wording


def test_measures_that_differ_have_wordings_that_differ() -> None:
    long = [read_measure({"kind": "similarity", "reference": "x" * 9_000 + end}) for end in "ab"]
    first, second = map(statement_of, long)
    assert first != second and len(first) < 400
    assert in_words({"kind": "pattern", "pattern": "^a", "whole": True}) == (
        "pattern (pattern: “^a”; whole: yes), higher is better")
    assert in_words({"kind": "of tomorrow"}) == ""


class _Point:
    """An installed measure's entry point, as far as pages look at it."""

    dist, module, value = None, "house_measures", "house_measures:shouting"

    def load(self) -> Any:
        return lambda prompt, response: sum(letter.isupper() for letter in response)


@pytest.fixture
def shouting(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.measures import added

    monkeypatch.setattr(measure_fields, "added_measures", lambda: {"shouting": _Point()})
    monkeypatch.setattr(added, "added_measures", lambda: {"shouting": _Point()})
    added.load.cache_clear()


@pytest.mark.usefixtures("shouting")
def test_a_measure_of_an_installed_package_is_a_choice(owner_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    version = define(owner_client, kind="added:shouting", toward="low")
    assert version.measure == {"kind": "added", "toward": "low", "name": "shouting"}
    assert (version.statement, version.measured_as) == ("lower in shouting", "shouting, lower is better")

    monkeypatch.setattr(measure_fields, "added_measures", dict)
    page = owner_client.get(reverse("principles:edit", args=[version.principle_id])).content.decode()
    assert "shouting: not installed on this machine" in page


def test_a_measure_is_tried_before_it_is_saved(owner_client: Client) -> None:
    trial = NEW | {"name": "", "try": "1", "try_a": "one two three", "try_b": "one"}
    form = owner_client.post(reverse("principles:new"), trial).context["form"]
    assert not form.errors and (form.trial.a, form.trial.b, form.trial.preference) == (3.0, 1.0, 0.0)

    broken = owner_client.post(reverse("principles:new"), trial | {"kind": "pattern", "pattern__pattern": "("})
    assert "correct the fields of the measure first" in broken.content.decode()
    judged = owner_client.post(reverse("principles:new"), trial | {"source": "judged", "name": "kept"})
    assert "to try a measure" in judged.content.decode()
    assert not Principle.objects.filter(name__in=["brevity", "kept"]).exists()
