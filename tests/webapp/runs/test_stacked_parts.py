"""The chart of the reward's parts: every pile in it is one that there was, and none that matters is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.webapp.runs.seeds import add_points, make_run
from webapp.accounts.models import Team, User
from webapp.runs.series.curves import Series, Window
from webapp.runs.series.stacks import positions, stack_of, stacked

pytestmark = pytest.mark.once  # it knows no database


def part(values: list[float], steps: list[int] | None = None) -> Series:
    x = np.array(steps if steps is not None else range(len(values)))
    return Series(x, np.array(values), 1000.0 + x)


def test_of_each_bucket_the_highest_and_the_lowest_pile_are_taken() -> None:
    """Steps 0 to 7 in buckets of four: the piles up are 1 3 2 0 | 0 1 0 5, the piles down 0 0 -4 0 | 0 0 -1 0."""
    values = np.array([[1, 1, -4, 0, 0, 1, -1, 2], [0, 2, 2, 0, 0, 0, 0, 3]], dtype=float)
    assert positions(np.arange(8), values, width=2).tolist() == [1, 2, 6, 7]


@pytest.mark.parametrize("width", [10, 100, 700])
def test_a_spike_that_every_part_has_is_in_the_stack_at_every_zoom(width: int) -> None:
    parts = [np.full(10_000, 0.1), np.full(10_000, -0.2), np.full(10_000, 0.3)]
    for values in parts:
        values[4321] = 30.0
    for window in (Window(width), Window(width, 4000, 5000), Window(width, 4320, 4322)):
        columns = stacked([part(values.tolist()) for values in parts], window)
        assert all(max(column["last"]) == 30.0 for column in columns)
        assert all(4321 in column["x"] and len(column["x"]) <= 2 * width + 4 for column in columns)


@given(st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=1, max_size=300), st.integers(1, 40))
def test_every_pile_is_a_real_one_and_the_extremes_and_the_newest_are_there(
    rows: list[tuple[float, ...]], width: int,
) -> None:
    values = np.array(rows).T
    columns = stacked([part(list(row)) for row in values], Window(width))
    x = columns[0]["x"]
    assert all(column["x"] == x for column in columns) and x == sorted(set(x)) and x[-1] == len(rows) - 1
    shown = np.array([column["last"] for column in columns])
    np.testing.assert_allclose(shown, values[:, x], rtol=1e-6, atol=1e-12)
    for piles, extreme in ((np.maximum, np.max), (np.minimum, np.min)):
        assert extreme(piles(shown, 0).sum(axis=0)) == pytest.approx(extreme(piles(values, 0).sum(axis=0)), abs=1e-5)


def test_parts_that_lack_steps_are_stacked_where_all_have_one() -> None:
    columns = stacked([part([1, 2, 3], [1, 2, 3]), part([5, 6], [2, 3])], Window(100))
    assert [column["x"] for column in columns] == [[2, 3], [2, 3]]
    assert [column["last"] for column in columns] == [[2, 3], [5, 6]]
    assert stacked([part([1], [1]), part([2], [2])], Window(100))[0]["x"] == []


def test_what_is_no_number_adds_nothing_and_hides_nothing() -> None:
    values = np.array([[np.nan, 1, 1, 1, 9], [1, np.inf, 1, 1, 1]], dtype=float)
    assert 4 in positions(np.arange(5), values, width=1)
    assert stacked([part(values[0].tolist()), part(values[1].tolist())], Window(100))[0]["last"][0] is None


def test_smoothed_parts_add_up_to_the_smoothed_whole() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 500))
    window = Window(50, weight=0.9)
    first_stack, second_stack = stacked([part(first.tolist()), part(second.tolist())], window)
    total = stacked([part((first + second).tolist())], Window(10_000, weight=0.9))[0]
    for x, a, b in zip(first_stack["x"], first_stack["last"], second_stack["last"], strict=True):
        assert a + b == pytest.approx(total["last"][x], abs=1e-5)


@pytest.mark.parametrize(("tag", "stack"), [
    ("principle/toxicity/weighted", 0), ("active/toxicity", 1), ("principle/toxicity/raw", None), ("kl/mean", None)])
def test_only_parts_of_one_whole_are_stacked(tag: str, stack: int | None) -> None:
    assert stack_of(tag) == stack


@pytest.mark.django_db
def test_the_page_gets_the_stack_beside_each_parts_own_picture(owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    steps = list(range(2000))
    for name, sign in (("toxicity", 1.0), ("factuality", -1.0)):
        values = [sign * (50.0 if step == 777 else 1.0) for step in steps]
        add_points(stages["ppo"], f"principle/{name}/weighted", steps, values)
    add_points(stages["ppo"], "kl/mean", steps, [0.0] * 2000)
    answer: dict[str, Any] = owner_client.get(f"/runs/{run.pk}/metrics/?width=100").json()
    by_tag = {series["tag"]: series for series in answer["series"]}
    for name, sign in (("toxicity", 1.0), ("factuality", -1.0)):
        stack = by_tag[f"principle/{name}/weighted"]["stack"]
        assert stack["last"][stack["x"].index(777)] == 50.0 * sign
    assert "stack" not in by_tag["kl/mean"]
