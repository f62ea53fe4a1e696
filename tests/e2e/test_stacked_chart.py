"""The stacked chart's layers, as the browser computes them: worked out by hand where parts change sign."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def piles(page: Page, *parts: list[float | None]) -> list[list[float | None]]:
    """[x, then from and to of each part's upward and downward layer]."""
    x = list(range(len(parts[0])))
    numbers = [x] + [column for part in parts for column in (part, part, part)]
    page.goto("/runs/")
    return page.evaluate("async ([numbers, parts]) => (await import('/static/js/run-stack.js')).piles(numbers, parts)",  # type: ignore[no-any-return]
                         [numbers, len(parts)])


def test_positive_parts_stand_on_each_other(page: Page) -> None:
    data = piles(page, [1, 2], [3, 4])
    assert data == [[0, 1], [0, 0], [1, 2], [None, None], [None, None], [1, 2], [4, 6], [None, None], [None, None]]


def test_a_part_that_changes_sign_shrinks_to_nothing_in_one_pile_and_grows_in_the_other(page: Page) -> None:
    """First part 2, 2, 2; second 1, -3, -1: its upward layer ends on the pile at 2, its downward one begins at 0."""
    data = piles(page, [2, 2, 2], [1, -3, -1])
    up_from, up_to, down_from, down_to = data[5:]
    assert (up_from, up_to) == ([2, 2, None], [3, 2, None])
    assert (down_from, down_to) == ([0, 0, 0], [0, -3, -1])


def test_negative_parts_hang_from_each_other_and_what_is_missing_adds_nothing(page: Page) -> None:
    data = piles(page, [-1, None, -1], [-2, -2, None])
    assert data[3:5] == [[0, 0, 0], [-1, 0, -1]]
    assert data[7:9] == [[-1, 0, -1], [-3, -2, -1]]


def test_each_layer_is_filled_from_its_upper_edge_down_to_its_lower_one(page: Page) -> None:
    """Series 1 to 4 are the edges "from" and "to" of the upward layer, then of the downward one."""
    page.goto("/runs/")
    bands = page.evaluate(
        "async () => (await import('/static/js/run-stack.js')).layers([{name: 'a', color: 'red'}]).bands")
    assert [band["series"] for band in bands] == [[2, 1], [3, 4]]
