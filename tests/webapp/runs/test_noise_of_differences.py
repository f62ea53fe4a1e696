"""Which differences of two runs are larger than their noise: the rule on numbers worked out by hand, and its marks."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapp.runs.seeds import add_points, make_run
from training.quality.intervals import wilson_interval
from webapp.accounts.models import Team, User
from webapp.runs.compare.final_numbers import Block, Row
from webapp.runs.compare.noise import Estimate, difference
from webapp.runs.models import Run, Stage


def test_the_ends_are_the_root_of_two_squares_away() -> None:
    """Upwards 0.03 and 0.04 make 0.05; downwards 0.05 and 0.12 make 0.13."""
    first, second = Estimate(0.5, 0.46, 0.62), Estimate(0.7, 0.65, 0.73)
    assert difference(first, second) == pytest.approx((0.2, 0.2 - 0.13, 0.2 + 0.05))
    assert difference(second, first) == pytest.approx((-0.2, -0.2 - 0.05, -0.2 + 0.13)), "the other way round"


def test_of_two_shares_it_is_newcombes_interval() -> None:
    """The first example of Newcombe 1998, table II, method 10: 56 of 70 less 48 of 80 is 0.2 (0.0524 to 0.3339)."""
    shares = [Estimate(wins / n, *wilson_interval(wins, n)) for wins, n in ((48, 80), (56, 70))]
    assert difference(*shares) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_intervals_that_overlap_a_little_may_still_differ() -> None:
    """Half-widths 3 and 4 make 5: a difference of 6 leaves 0 out, though 3 + 4 = 7 says that the intervals overlap."""
    assert difference(Estimate(0, -3, 3), Estimate(6, 2, 10)).is_beyond_noise
    assert not difference(Estimate(0, -3, 3), Estimate(4.9, 0.9, 8.9)).is_beyond_noise
    assert difference(Estimate(6, 2, 10), Estimate(0, -3, 3)).is_beyond_noise, "downwards as well"


def test_a_difference_that_only_touches_0_is_noise() -> None:
    assert not difference(Estimate(0, -3, 3), Estimate(5, 1, 9)).is_beyond_noise


# In the table ---------------------------------------------------------------------------------------------------------


def rate(value: float, half: float) -> dict[str, float]:
    return {"win_rate": value, "low": value - half, "high": value + half, "n": 300}


def change(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def evaluated(team: Team, owner: User, **summary: object) -> tuple[Run, dict[str, Stage]]:
    run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    stages["evaluate"].summary = summary
    stages["evaluate"].save(update_fields=["summary"])
    return run, stages


def table(client: Client, *runs: Run) -> dict[str, dict[str, Row]]:
    """The rows of the table by the titles of their blocks."""
    page = client.get("/runs/compare/?" + "&".join(f"run={run.pk}" for run in runs))
    blocks: list[Block] = page.context["blocks"]
    return {block.title: {row.label: row for row in block.rows} for block in blocks}


def test_win_rates_are_marked_against_the_first_run(owner_client: Client, team: Team, owner: User) -> None:
    """0.6 to 0.8 with half-widths of 0.05 (0.071 together) is more than noise, 0.6 to 0.65 is not."""
    runs = [evaluated(team, owner, overall=rate(value, 0.05), principles={"toxicity": rate(value - 0.2, 0.05)})[0]
            for value in (0.6, 0.8, 0.65, 0.4)]
    rows = table(owner_client, *runs)["Win rate against its base"]
    assert list(rows) == ["Overall", "toxicity"]
    for row in rows.values():
        assert [cell.is_beyond_noise for cell in row.cells] == [False, True, False, True]
        assert row.cells[0].from_baseline is None
        assert [cell.direction for cell in row.cells[1:]] == ["higher", "higher", "lower"]
    page = owner_client.get("/runs/compare/?" + "&".join(f"run={run.pk}" for run in runs)).content.decode()
    for words in ("+20 points", "−20 points", "+5 points, within noise"):
        assert words in page, words


def test_measures_and_scores_are_marked_by_their_own_intervals(owner_client: Client, team: Team, owner: User) -> None:
    """Half-widths 3 and 4 make 5: measures differ by 6, opinions by 4."""
    runs = [evaluated(team, owner, overall=rate(0.6, 0.1), measures={"conciseness": {
        "n": 40, "toward": "low", "difference": change(at, half)}}, opinions={"conciseness": {
            "difference": change(at * 2 / 3, half)}})[0] for at, half in ((-9, 3), (-3, 4))]
    rows = table(owner_client, *runs)
    measured = rows["Measured change"]["conciseness"].cells
    believed = rows["Score of the preference model"]["conciseness"].cells
    assert measured[1].from_baseline == pytest.approx((6, 1, 11)) and measured[1].is_beyond_noise
    assert believed[1].from_baseline == pytest.approx((4, -1, 9)) and not believed[1].is_beyond_noise
    assert measured[0].n == 40


def test_a_number_that_one_run_lacks_is_compared_with_nothing(owner_client: Client, team: Team, owner: User) -> None:
    """The second run has no evaluation, the third no toxicity."""
    first, _ = evaluated(team, owner, overall=rate(0.6, 0.05), principles={"toxicity": rate(0.5, 0.05)})
    second, _ = make_run(team, owner)
    third, _ = evaluated(team, owner, overall=rate(0.9, 0.05), principles={"honesty": rate(0.5, 0.05)})
    rows = table(owner_client, first, second, third)["Win rate against its base"]
    assert list(rows) == ["Overall", "toxicity", "honesty"]
    assert [cell.why_missing for cell in rows["toxicity"].cells] == ["", "no evaluation yet", "not evaluated"]
    assert [cell.from_baseline is None for cell in rows["Overall"].cells] == [True, True, False]
    assert rows["honesty"].cells[2].from_baseline is None, "the baseline has none"
    assert "Measured change" not in table(owner_client, first, second, third)


def test_an_evaluation_without_a_verdict_is_noise_alone(owner_client: Client, team: Team, owner: User) -> None:
    nothing = {"win_rate": 0.5, "low": 0.0, "high": 1.0, "n": 0}
    runs = [evaluated(team, owner, overall=overall)[0] for overall in (rate(0.9, 0.02), nothing)]
    assert not table(owner_client, *runs)["Win rate against its base"]["Overall"].cells[1].is_beyond_noise


def test_training_shows_last_values_and_marks_none(owner_client: Client, team: Team, owner: User) -> None:
    first, stages = evaluated(team, owner, overall=rate(0.6, 0.05))
    second, others = evaluated(team, owner, overall=rate(0.6, 0.05))
    add_points(stages["ppo"], "kl/mean", [1, 2, 3], [1.0, 2.0, 5.25], size=2)
    add_points(stages["ppo"], "response/length", [1], [40.0])
    add_points(others["ppo"], "kl/mean", [1, 2], [1.0, float("nan")])
    rows = table(owner_client, first, second)["Training"]
    assert [cell.value for cell in rows["KL to the reference"].cells] == [5.25, None]
    assert [cell.value for cell in rows["Response length"].cells] == [40.0, None]
    assert not any(cell.from_baseline for row in rows.values() for cell in row.cells)
