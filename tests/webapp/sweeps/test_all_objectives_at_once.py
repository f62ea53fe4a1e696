"""All objectives of a sweep at once: a line per run, which are not dominated, and ranges that select runs."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from django.test import Client

from tests.webapp.sweeps.made import demo, make_sweep, report, run_of
from webapp.accounts.models import Team, User
from webapp.sweeps.models import Sweep
from webapp.sweeps.parallel import HEIGHT, TOP, Parallel
from webapp.sweeps.selectors import SweepPage

pytestmark = pytest.mark.django_db
A, B, C = (choice.name for choice in demo().principles[:3])


@pytest.fixture(autouse=True)
def _nothing_is_sent(sent: list[tuple[object, ...]]) -> None:
    cache.clear()


@pytest.fixture
def finished(team: Team, owner: User) -> Sweep:
    """Four runs: the third is beaten by the second in everything, KL included."""
    sweep = make_sweep(team, owner, at_a_time=4)
    for number, (a, b, c) in enumerate([(0.2, 0.8, 0.5), (0.6, 0.6, 0.5), (0.5, 0.5, 0.4), (0.8, 0.2, 0.5)], start=1):
        report(run_of(sweep, number), {A: a, B: b, C: c}, kl=float(number))
    return sweep


def parallel(sweep: Sweep, **query: str) -> Parallel:
    page = SweepPage(sweep)
    return Parallel(page.axes, page.points, {key.replace("__", ":"): value for key, value in query.items()})


def selected(drawing: Parallel) -> list[int]:
    return [point.point.first.number for point in drawing.listed if point.is_selected]


def test_an_axis_for_each_win_rate_and_for_kl(finished: Sweep) -> None:
    drawing = parallel(finished)
    assert [axis.axis.key for axis in drawing.drawn_axes] == [f"win:{A}", f"win:{B}", f"win:{C}", "kl"]
    assert [axis.principle for axis in drawing.drawn_axes] == [A, B, C, ""]


def test_what_no_other_run_beats_in_everything_is_strong(finished: Sweep) -> None:
    assert [(point.point.first.number, point.is_on_front) for point in parallel(finished).listed] == [
        (1, True), (2, True), (3, False), (4, True)]


def test_up_is_better_on_every_axis(finished: Sweep) -> None:
    """Run 4 wins most on A, so its line begins highest there; run 1 has the least KL, so its line ends highest."""
    lines = {point.point.first.number: [float(pair.split(",")[1]) for pair in point.line.split()]
             for point in parallel(finished).listed}
    assert min(lines, key=lambda number: lines[number][0]) == 4
    assert min(lines, key=lambda number: lines[number][-1]) == 1
    assert all(TOP <= y <= HEIGHT for line in lines.values() for y in line)


def test_ranges_select_with_their_ends_and_in_percent(finished: Sweep) -> None:
    assert selected(parallel(finished)) == [1, 2, 3, 4]
    assert selected(parallel(finished, **{f"from:win:{A}": "50"})) == [2, 3, 4]
    assert selected(parallel(finished, **{f"from:win:{A}": "50", f"to:win:{A}": "60"})) == [2, 3]
    assert selected(parallel(finished, **{f"from:win:{A}": "50", "to:kl": "2"})) == [2]


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "1e999", "\x00", "٣x"])
def test_a_limit_that_is_no_number_is_none(finished: Sweep, text: str, owner_client: Client) -> None:
    assert selected(parallel(finished, **{"from:kl": text})) == [1, 2, 3, 4]
    assert owner_client.get(f"/sweeps/{finished.pk}/", {"from:kl": text}).status_code == 200


def test_without_a_script_the_page_lists_what_is_selected_and_compares_it(
        finished: Sweep, owner_client: Client) -> None:
    page = owner_client.get(f"/sweeps/{finished.pk}/", {f"from:win:{A}": "50", f"to:win:{A}": "60"}).content.decode()
    assert "2 of 4 selected" in page
    sent = [int(key) for key, rest in re.findall(r'name="run" value="(\d+)"([^>]*)>', page) if "disabled" not in rest]
    assert sent == [run_of(finished, number).pk for number in (2, 3)]
    assert owner_client.get("/runs/compare/", {"run": sent}).status_code == 200
    one = owner_client.get(f"/sweeps/{finished.pk}/", {"to:kl": "1"}).content.decode()
    assert re.search(r'id="parallel-compare" disabled', one) and "A comparison takes 2 to 12 runs." in one


def test_two_objectives_are_the_front_alone(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner, at_a_time=4)
    report(run_of(sweep, 1), {A: 0.5})
    assert not parallel(sweep).is_shown
    assert "All objectives at once" not in owner_client.get(f"/sweeps/{sweep.pk}/").content.decode()


def test_a_run_without_a_value_on_some_axis_is_left_out_and_said(
        finished: Sweep, owner_client: Client) -> None:
    report(run_of(finished, 4), {A: 0.5, B: 0.5})
    assert parallel(finished).left_out == 1
    assert "1 run without a value on some axis is left out" in owner_client.get(
        f"/sweeps/{finished.pk}/").content.decode()
