"""A principle's colour is the same hue everywhere, and readable on both themes."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from training.config.principles import library
from webapp.accounts.models import Team
from webapp.principles.hues import contrast, readable, stylesheet
from webapp.principles.models import Principle

pytestmark = pytest.mark.once  # it knows no database

LIGHT, DARK = ("#ffffff", "#f6f7f8", "#f1f3f5"), ("#101317", "#171b20", "#1f242b")


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("hue", sorted(principle.hue for principle in library().values()))
def test_every_shipped_hue_can_be_read_on_every_surface(hue: str) -> None:
    for surfaces in (LIGHT, DARK):
        text, shape = readable(hue, surfaces[-1], 4.6), readable(hue, surfaces[-1], 3.0)
        assert min(contrast(text, surface) for surface in surfaces) >= 4.5
        assert min(contrast(shape, surface) for surface in surfaces) >= 3.0


@given(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True))
def test_any_hue_a_person_picks_becomes_readable(hue: str) -> None:
    assert contrast(readable(hue, "#f1f3f5", 4.6), "#f1f3f5") >= 4.6
    assert contrast(readable(hue, "#1f242b", 4.6), "#1f242b") >= 4.6


def test_a_hue_that_is_readable_already_stays_as_it_is() -> None:
    assert readable("#CC3311", "#f1f3f5", 3.0) == "#cc3311"


def test_what_is_no_colour_never_reaches_the_stylesheet() -> None:
    assert stylesheet({"fine": "#4477AA", "evil": "red}body{display:none", "a b{}": "#4477AA"}).count("{") == 1


def test_the_stylesheet_has_the_library_and_what_the_team_made_of_it(owner_client: Client, team: Team) -> None:
    Principle.objects.of(team).filter(name="toxicity").update(hue="#123456")
    Principle.objects.create(team=team, name="politeness", hue="#4477AA")

    answer = owner_client.get(reverse("principles:hues"))

    assert answer.headers["Content-Type"] == "text/css"
    assert "#123456" in answer.content.decode()
    names = re.findall(r"\.hue-([\w-]+)", answer.content.decode())
    assert set(names) == {*library(), "politeness"}


def test_an_unchanged_stylesheet_is_not_sent_twice(owner_client: Client) -> None:
    first = owner_client.get(reverse("principles:hues"))

    again = owner_client.get(reverse("principles:hues"), headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert "private" in first.headers["Cache-Control"]


@pytest.mark.django_db
def test_principles_of_a_recipe_alone_get_hues_in_turn_that_differ(owner_client: Client) -> None:
    rules = owner_client.get(reverse("principles:hues"), {"also": "warmth,plainness,factuality,}x{"}).content.decode()
    hue = {name: re.findall(rf"^\.hue-{name} (.*)$", rules, re.MULTILINE)
           for name in ("warmth", "plainness", "factuality")}
    assert [len(lines) for lines in hue.values()] == [1, 1, 1] and hue["warmth"] != hue["plainness"]
    assert "}x{" not in rules
