"""Times, numbers and bars as templates write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.template import Context, Template
from django.utils import timezone

from webapp.accounts.durations import duration
from webapp.accounts.templatetags.concord import ago, percent, points, signed, thousands

pytestmark = pytest.mark.once  # it knows no database


def rendered(text: str, **context: object) -> str:
    return Template("{% load concord %}" + text).render(Context(context))


@pytest.mark.parametrize(("seconds", "words"), [
    (2, "just now"), (42, "42 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (3 * 86400, "3 d ago")])
def test_a_time_is_relative_with_the_exact_one_on_hover(seconds: int, words: str) -> None:
    when = timezone.now() - timedelta(seconds=seconds)

    text = ago(when)

    assert f">{words}<" in text
    assert when.strftime("%Y-%m-%d %H:%M:%S") in text


def test_an_old_time_is_a_date() -> None:
    assert "5 Jan 2024" in ago(timezone.now().replace(year=2024, month=1, day=5))


@pytest.mark.parametrize(("seconds", "words"), [
    (0.4, "0 s"), (48, "48 s"), (200, "3 min 20 s"), (1500, "25 min"), (7500, "2 h 5 min"), (7200, "2 h"),
    (277_300, "3 d 5 h"), (259_200, "3 d")])
def test_a_duration_is_as_exact_as_one_cares(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_carry_their_sign_and_their_unit() -> None:
    assert percent(0.8137, 1) == "81.4%"
    assert signed(-0.5) == "−0.50"
    assert signed(0.5) == "+0.50"
    assert thousands(1234567) == "1,234,567"


def test_what_is_not_there_is_written_as_nothing() -> None:
    assert [ago(None), duration(None), percent(None), signed(None), thousands(None)] == [""] * 5


def test_a_label_for_a_lies_left_with_a_tick_for_each_order() -> None:
    bar = rendered("{% label_bar 0.9 1.0 0.8 'toxicity' %}")

    assert 'cx="10.0%"' in bar
    assert 'x="0.0%"' in bar and 'x="20.0%"' in bar
    assert "hue-toxicity" in bar


def test_a_pair_without_a_label_says_so() -> None:
    assert "no label" in rendered("{% label_bar None %}{% label_bar no_such_name %}")


@pytest.mark.parametrize(("value", "start", "width"), [(1.5, "50.0", "25.0"), (-1.5, "25.0", "25.0"),
                                                       (99, "50.0", "50.0"), (-99, "0.0", "50.0")])
def test_a_reward_grows_from_the_middle_and_stays_in_its_bar(value: float, start: str, width: str) -> None:
    bar = rendered("{% reward_bar value %}", value=value)

    assert f'x="{start}%"' in bar
    assert f'width="{width}%"' in bar


@pytest.mark.parametrize(("share", "words"), [
    (0.2134, "+21"), (-0.2, "−20"), (0.01, "+1"), (0.004, "+0.4"), (-0.0094, "−0.9"), (0.0, "+0"), (None, "")])
def test_a_difference_of_shares_is_in_points_with_a_digit_more_where_it_is_small(
        share: float | None, words: str) -> None:
    assert points(share) == words
