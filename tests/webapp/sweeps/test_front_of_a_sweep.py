"""The finished runs of a sweep as points: the front, its hypervolume, repetitions as one point, importance."""

from __future__ import annotations

import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from tests.webapp.sweeps.made import answers, demo, end, make_sweep, report, run_of
from webapp.accounts.models import Team, User
from webapp.runs.models import Run
from webapp.sweeps.chart import HEIGHT, WIDTH, drawing_of
from webapp.sweeps.front import front_of
from webapp.sweeps.front_page import FrontPage
from webapp.sweeps.models import Sweep
from webapp.sweeps.objectives import Axis, mean_of
from webapp.sweeps.selectors import SweepPage

pytestmark = pytest.mark.django_db
A, B, C = (choice.name for choice in demo().principles[:3])
AXES = {"x": f"win:{A}", "y": f"win:{B}"}


@pytest.fixture(autouse=True)
def _nothing_is_sent(sent: list[tuple[object, ...]]) -> None:
    """No test here needs a worker, and none reads what another one has computed: their databases share numbers."""
    cache.clear()


@pytest.fixture
def finished(team: Team, owner: User) -> Sweep:
    """Four runs: (0.2, 0.8), (0.6, 0.6), (0.5, 0.5) which the second dominates, (0.8, 0.2)."""
    sweep = make_sweep(team, owner, at_a_time=4)
    for number, (a, b) in enumerate([(0.2, 0.8), (0.6, 0.6), (0.5, 0.5), (0.8, 0.2)], start=1):
        report(run_of(sweep, number), {A: a, B: b}, kl=float(number), scores={A: a - 0.5})
    return sweep


def page_of(client: Client, sweep: Sweep, query: str = "") -> str:
    answer = client.get(f"/sweeps/{sweep.pk}/{query}")
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def axis(sweep: Sweep, key: str) -> Axis:
    return next(axis for axis in SweepPage(sweep).axes if axis.key == key)


# Numbers by hand ------------------------------------------------------------------------------------------------------


def test_the_front_and_its_hypervolume_by_hand(finished: Sweep) -> None:
    """0.2 · 0.8 + (0.6 − 0.2) · 0.6 + (0.8 − 0.6) · 0.2 = 0.44, from 0 and 0."""
    front = FrontPage(SweepPage(finished), AXES).front
    assert front is not None and front.reference == (0, 0)
    assert [(point.point.first.number, point.dominated_by) for point in front.points] == [
        (1, 0), (2, 0), (3, 1), (4, 0)]
    assert front.volume == pytest.approx(0.44)


def test_where_less_is_better_less_dominates(finished: Sweep) -> None:
    """KL 1 to 4 up, win rate on A across: run 3 loses to run 2, which has less KL and wins more."""
    front = FrontPage(SweepPage(finished), {"x": f"win:{A}", "y": "kl"}).front
    assert front is not None
    assert [point.dominated_by for point in front.points] == [0, 0, 1, 0]
    assert front.reference[1] == 2 * demo().ppo.kl.target


def test_a_score_is_measured_from_the_worst_run_and_the_page_says_so(owner_client: Client, finished: Sweep) -> None:
    front = FrontPage(SweepPage(finished), {"x": f"score:{A}", "y": f"win:{B}"})
    assert front.front is not None and front.front.reference[0] == pytest.approx(-0.3)
    page = page_of(owner_client, finished, f"?x=score:{A}&y=win:{B}")
    assert "the worst of these runs" in page and "keeps no outcome of each prompt" in page


def test_the_hypervolume_has_an_interval_where_prompts_are_known(team: Team, owner: User) -> None:
    """Two runs on 50 prompts: one wins on A always, the other on half of them."""
    sweep = make_sweep(team, owner, {"seeds": [1], "grid": {"ppo.steps": [20, 40]}}, at_a_time=2)
    for number, share in ((1, 1.0), (2, 0.5)):
        report(run_of(sweep, number), {A: share, B: 0.5})
        answers(run_of(sweep, number), [{A: float(place % 2 or share == 1.0), B: float(place // 2 % 2)}
                                        for place in range(48)])
    front = FrontPage(SweepPage(sweep), AXES).front
    assert front is not None and front.interval is not None
    assert front.interval.low < front.interval.value <= front.interval.high
    assert front.interval.value == pytest.approx(0.5)


def test_repetitions_are_one_point_with_an_interval(team: Team, owner: User) -> None:
    """0.4, 0.5 and 0.6: mean 0.5, and 4.3027 · 0.1 / √3 = 0.2484 to each side (t with two degrees of freedom)."""
    sweep = make_sweep(team, owner, {"seeds": [0, 1, 2], "grid": {"ppo.steps": [20, 40]}}, at_a_time=6)
    for number, share in enumerate([0.4, 0.5, 0.6, 0.7, 0.7, 0.7], start=1):
        report(run_of(sweep, number), {A: share, B: 0.5})
    points = SweepPage(sweep).points
    assert [point.title for point in points] == ["Runs 1, 2, 3", "Runs 4, 5, 6"]
    value = points[0].values[f"win:{A}"]
    assert (value.value, value.low, value.high) == pytest.approx((0.5, 0.2516, 0.7484), abs=1e-4)
    assert mean_of([0.7, 0.7, 0.7]).low == pytest.approx(0.7)


@pytest.mark.parametrize(("x", "y", "stairs"), [
    ("higher", "higher", [(0.2, 0.8), (0.2, 0.6), (0.6, 0.6), (0.6, 0.2), (0.8, 0.2)]),
    ("lower", "lower", [(0.2, 0.8), (0.5, 0.8), (0.5, 0.5), (0.8, 0.5), (0.8, 0.2)])])
def test_the_line_of_the_front_turns_where_its_area_ends(
        finished: Sweep, x: str, y: str, stairs: list[tuple[float, float]]) -> None:
    across = axis(finished, f"win:{A}")._replace(direction=x)
    up = axis(finished, f"win:{B}")._replace(direction=y)
    front = front_of(SweepPage(finished).points, across, up)
    drawing = drawing_of(front)
    at = {point.point.point.first.number: (point.x, point.y) for point in drawing.marks}
    places = [tuple(map(float, corner.split(","))) for corner in drawing.stairs.split()]
    across_of = {0.2: at[1][0], 0.6: at[2][0], 0.5: at[3][0], 0.8: at[4][0]}
    up_of = {0.8: at[1][1], 0.6: at[2][1], 0.5: at[3][1], 0.2: at[4][1]}
    assert places == [(across_of[a], up_of[b]) for a, b in stairs]


# The page -------------------------------------------------------------------------------------------------------------


def test_the_drawing_is_on_the_page_without_a_script(owner_client: Client, finished: Sweep) -> None:
    page = page_of(owner_client, finished, f"?x=win:{A}&y=win:{B}")
    marks = re.findall(r'<a href="/runs/(\d+)/" class="mark( is-best)?" aria-label="([^"]+)"', page)
    assert len(marks) == 4 and sum(bool(best) for _, best, _ in marks) == 3
    assert f"Run 2: {A}, win rate 60% (55% to 65%); {B}, win rate 60% (55% to 65%); on the front" in page
    places = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[57]"', page)]
    assert len(places) == 4 and all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert "dominated by 1" in page and page.count("● on the front") == 3
    assert "Hypervolume of 4 points: <strong class=\"number\">0.44" in page
    assert "style=" not in page and "<script>" not in page


def test_the_axes_are_in_the_address_and_nonsense_is_the_default(owner_client: Client, finished: Sweep) -> None:
    assert f'<option value="win:{B}" selected>' in page_of(owner_client, finished, f"?x=kl&y=win:{B}")
    for query in ("?x=&y=", "?x=nonsense&y=score:nobody", "?x=kl&y=kl", "?of=nonsense", "?x=%00"):
        answer = owner_client.get(f"/sweeps/{finished.pk}/{query}")
        assert answer.status_code in {200, 400}


def test_it_follows_while_runs_finish_and_rests_at_the_end(owner_client: Client, team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner, at_a_time=2)
    page = page_of(owner_client, sweep, "?x=kl")
    assert f'hx-get="/sweeps/{sweep.pk}/live/?x=kl"' in page and "No finished run has both objectives yet" in page
    report(run_of(sweep, 1), {A: 0.5, B: 0.5})
    live = owner_client.get(f"/sweeps/{sweep.pk}/live/").content.decode()
    assert "<circle" in live and "hx-get" in live
    for entry in sweep.entries.filter(run__isnull=False):
        end(run_of(sweep, entry.number))
    sweep.entries.filter(run__isnull=True).update(status="cancelled")
    assert "every 4s" not in page_of(owner_client, sweep)


def test_three_principles_have_a_matrix(owner_client: Client, finished: Sweep) -> None:
    page = page_of(owner_client, finished, f"?x=win:{A}&y=win:{B}")
    count = len(demo().principles)
    assert page.count('class="front-small"') == count * (count - 1) // 2
    assert f'href="?x=win%3A{A}&amp;y=win%3A{B}#front" aria-current="true"' in page


def test_a_run_without_an_evaluation_is_left_out(owner_client: Client, finished: Sweep) -> None:
    Run.objects.filter(pk=run_of(finished, 2).pk).update(status=Run.Status.FAILED)
    front = FrontPage(SweepPage(finished), AXES).front
    assert front is not None
    assert [(point.point.first.number, point.dominated_by) for point in front.points] == [(1, 0), (3, 0), (4, 0)]


def test_more_runs_and_sweeps_take_no_more_queries(
        owner_client: Client, team: Team, owner: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    small = make_sweep(team, owner, {"seeds": [1, 2]}, at_a_time=2, name="Small")
    large = make_sweep(team, owner, {"seeds": list(range(3, 12))}, at_a_time=9, name="Large")
    for sweep in (small, large):
        for entry in sweep.entries.all():
            report(run_of(sweep, entry.number), {A: 0.5, B: 0.4, C: 0.1 * entry.number % 1})
    queries = []
    for sweep in (small, large):
        page_of(owner_client, sweep)  # the interval is computed once
        with CaptureQueriesContext(connection) as captured:
            page_of(owner_client, sweep)
        queries.append([query["sql"][:120] for query in captured.captured_queries])
    assert len(queries[0]) == len(queries[1]), queries
    with django_assert_num_queries(6):
        owner_client.get("/sweeps/")


def test_points_at_the_same_place_show_all_their_numbers(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner, at_a_time=4)
    for number, a in enumerate([0.2, 0.6, 0.6, 0.2], start=1):
        report(run_of(sweep, number), {A: a, B: 0.5 if number != 4 else 0.9})
    front = FrontPage(SweepPage(sweep), AXES).front
    assert front is not None
    labels = [mark.label for mark in drawing_of(front).marks]
    assert sorted(label for label in labels if label) == ["1", "2, 3", "4"]
    assert "2, 3</text>" in page_of(owner_client, sweep)


# Importance -----------------------------------------------------------------------------------------------------------


def test_a_setting_that_decides_and_one_that_does_nothing(team: Team, owner: User, owner_client: Client) -> None:
    """0.4 between coefficients and 0.01 between epochs: squares of 8 · 0.2² = 0.32 and 2 · 5 · 0.01² = 0.001."""
    sweep = make_sweep(team, owner, {"grid": {"ppo.kl.coefficient": [0.05, 0.4], "ppo.epochs": [1, 2, 3, 4]}},
                       at_a_time=8)
    for entry in sweep.entries.all():
        high = entry.varied["ppo.kl.coefficient"] == 0.05
        report(run_of(sweep, entry.number), {A: (0.7 if high else 0.3) + 0.01 * entry.varied["ppo.epochs"], B: 0.5})
    decides, nothing = FrontPage(SweepPage(sweep), {"of": f"win:{A}"}).importances
    assert decides.path == "ppo.kl.coefficient" and decides.importance.explained == pytest.approx(0.32 / 0.321)
    assert nothing.importance.explained == pytest.approx(0.001 / 0.321)
    assert decides.importance.is_beyond_chance and not nothing.importance.is_beyond_chance
    page = page_of(owner_client, sweep, f"?of=win:{A}")
    assert "More than chance" in page and "May be chance" in page


def test_too_few_runs_are_said_to_be_too_few(owner_client: Client, finished: Sweep) -> None:
    assert "Not known: too few runs" in page_of(owner_client, finished)
