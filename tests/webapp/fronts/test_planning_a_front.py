"""What a front is going to be: its policies by hand, what is known already, and what it takes; before it starts."""

from __future__ import annotations

import math

import pytest
from django.test import Client

from tests.webapp.fronts.made import PROMPTS, evaluated, recipe_of
from webapp.accounts.models import Team, User
from webapp.fronts import points
from webapp.fronts.models import PolicyFront
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import FinishedRun
from webapp.runs.models import Run

NEW = "/fronts/new/"
VERDICTS = {"overall": 0.9, "factuality": 0.9, "conciseness": 0.1}
RUN = FinishedRun(1, "A", 10, "demo-world", None, range(10, 100, 10), ("factuality", "conciseness"))
OTHER = FinishedRun(2, "B", 20, "demo-world", None)


@pytest.fixture
def run(team: Team, owner: User) -> Run:
    """Keeps steps 10, 20 and 30 of 40."""
    recipe = recipe_of(ppo={"steps": 40, "keep_every": 10})
    return evaluated(team, owner, "A", ["yes"] * 6, recipe=recipe, verdicts=VERDICTS)


def test_a_line_of_five_has_both_ends_and_even_shares() -> None:
    line = points.line_between(RUN, OTHER, 5)
    assert [point.parts for point in line] == [
        (("tuned:1", 1.0),), (("tuned:1", 0.75), ("tuned:2", 0.25)), (("tuned:1", 0.5), ("tuned:2", 0.5)),
        (("tuned:1", 0.25), ("tuned:2", 0.75)), (("tuned:2", 1.0),)]
    assert [point.label for point in line][:2] == ["100% A", "75% A, 25% B"]


@pytest.mark.parametrize(("asked", "made"), [(0, 5), (4, 5), (11, 11), (12, 11), (10**9, 11)])
def test_a_line_has_five_to_eleven_points(asked: int, made: int) -> None:
    assert len(points.line_between(RUN, OTHER, asked)) == made


def test_a_grid_of_two_corners_has_up_to_eleven_points_and_of_three_fifteen() -> None:
    assert points.grids_of(RUN) == {divisions: divisions + 1 for divisions in range(1, 11)}
    three = FinishedRun(1, "A", 10, "demo-world", None, corners=("a", "b", "c"))
    assert points.grids_of(three) == {1: 3, 2: 6, 3: 10, 4: 15}
    grid = points.grid_of(three, 4)
    assert len(grid) == 15 and len({point.parts for point in grid}) == 15
    assert all(math.isclose(sum(weight for _, weight in point.parts), 1) for point in grid)
    assert grid[0].parts == (("corner:1/a", 1.0),) and grid[-1].parts == (("corner:1/c", 1.0),)
    assert points.grid_of(three, 5) == [] and points.grids_of(OTHER) == {}


def test_checkpoints_are_spaced_evenly_and_end_with_the_last() -> None:
    assert [point.label for point in points.checkpoints_of(RUN, 3)] == ["step 10", "step 50", "step 90"]
    assert len(points.checkpoints_of(RUN, 99)) == 9 and points.checkpoints_of(RUN, 0) == []
    assert [point.label for point in points.checkpoints_of(RUN, 1)] == ["step 10"]


def test_a_run_with_checkpoints_says_what_they_take(owner_client: Client, run: Run) -> None:
    """Three checkpoints answer 6 prompts and are asked about by 3 questions; the end of the run is known."""
    page = owner_client.get(NEW, {"run": run.pk}).content.decode()
    assert '<dt>Policies</dt><dd class="number">4</dd>' in page
    assert '<dt>Evaluated already</dt><dd class="number">1</dd>' in page
    assert '<dt>Answers to generate</dt><dd class="number">18</dd>' in page
    assert '<dt>Verdicts</dt><dd class="number">at most 54</dd>' in page and "$" in page


def test_what_is_started_is_what_was_shown(owner_client: Client, run: Run, sent: object) -> None:
    answer = owner_client.post(NEW, {"run": run.pk, "checkpoints": "2", "prompts": "4", "q": ["factuality"],
                                     "name": "Two checkpoints"})
    front = PolicyFront.objects.get()
    assert answer.status_code == 302 and answer["Location"] == f"/fronts/{front.pk}/"
    assert (front.name, front.prompts, front.seed, front.total) == ("Two checkpoints", 4, 7, 8)
    assert [(point.kind, point.label, point.parts) for point in front.points.all()] == [
        ("checkpoint", "step 10", [[f"tuned:{run.pk}@10", 1.0]]),
        ("checkpoint", "step 30", [[f"tuned:{run.pk}@30", 1.0]]), ("run", "A", [[f"tuned:{run.pk}", 1.0]])]
    assert [point.evaluation is not None for point in front.points.all()] == [False, False, True]


def test_both_ends_of_a_line_are_known_where_their_bases_answered_alike(
        owner_client: Client, run: Run, team: Team, owner: User, sent: object) -> None:
    other = evaluated(team, owner, "B", ["well"] * 6, verdicts=VERDICTS)
    asked = {"run": run.pk, "other": other.pk, "line": "5", "prompts": "6"}
    assert '<dt>Evaluated already</dt><dd class="number">2</dd>' in owner_client.get(NEW, asked).content.decode()
    sampled = evaluated(team, owner, "C", ["well"] * 6, base=["nay"] * 6, verdicts=VERDICTS)
    page = owner_client.get(NEW, asked | {"other": sampled.pk}).content.decode()
    assert '<dt>Evaluated already</dt><dd class="number">1</dd>' in page
    assert '<dt>Answers to generate</dt><dd class="number">24</dd>' in page


def test_the_principles_of_both_runs_are_asked_about(owner_client: Client, run: Run, team: Team, owner: User) -> None:
    recipe = recipe_of(principles=[{"name": "toxicity", "statement": "less toxic"}])
    other = evaluated(team, owner, "B", ["well"] * 6, recipe=recipe)
    page = owner_client.get(NEW, {"run": run.pk, "other": other.pk}).content.decode()
    assert all(f'name="q" value="{name}"' in page for name in ("overall", "factuality", "conciseness", "toxicity"))


def test_a_saved_mix_is_a_point_and_one_that_lost_a_policy_is_named(
        owner_client: Client, run: Run, team: Team, owner: User, sent: object) -> None:
    other = evaluated(team, owner, "B", ["well"] * 6)
    mix = PolicyMix.objects.create(team=team, name="half", parts=[[f"tuned:{run.pk}", 0.5], [f"tuned:{other.pk}", 0.5]])
    asked = {"run": run.pk, "mix": [mix.pk], "prompts": "6"}
    owner_client.post(NEW, asked)
    point = PolicyFront.objects.get().points.get(kind="mix")
    assert (point.label, point.mix, point.parts) == ("half", mix.pk, mix.parts)
    PolicyMix.objects.filter(pk=mix.pk).update(parts=[[f"tuned:{run.pk}", 0.5], ["tuned:999999", 0.5]])
    page = owner_client.post(NEW, asked)
    assert page.status_code == 400 and "“half” cannot be mixed any more" in page.content.decode()
    assert PolicyFront.objects.count() == 1


def test_the_runs_own_policy_alone_starts_nothing(owner_client: Client, run: Run) -> None:
    page = owner_client.post(NEW, {"run": run.pk, "checkpoints": "0", "prompts": "6"})
    assert page.status_code == 400 and "which its evaluation knows already" in page.content.decode()
    assert not PolicyFront.objects.exists()


def test_a_policy_without_adapters_has_checkpoints_but_no_line(
        owner_client: Client, team: Team, owner: User, run: Run, sent: object) -> None:
    recipe = recipe_of(policy={"base": "demo-world", "lora": None}, ppo={"steps": 40, "keep_every": 10,
                                                                        "critic": "separate"})
    full = evaluated(team, owner, "Full", ["yes"] * 6, recipe=recipe)
    line = owner_client.post(NEW, {"run": full.pk, "other": run.pk, "prompts": "6"})
    assert line.status_code == 400 and "Every weight of the policy of “Full” was trained" in line.content.decode()
    assert owner_client.post(NEW, {"run": full.pk, "checkpoints": "3", "prompts": "6"}).status_code == 302


@pytest.mark.parametrize("query", [
    {"checkpoints": "-1", "grid": "99", "other": "x", "line": "①", "mix": ["a", "9" * 30], "prompts": "0"},
    {"checkpoints": "9" * 40, "prompts": "9" * 40, "q": ["nothing"], "name": " " * 500}])
def test_odd_values_of_the_address_are_no_errors(
        owner_client: Client, run: Run, query: dict[str, str | list[str]]) -> None:
    assert owner_client.get(NEW, {"run": str(run.pk)} | query).status_code == 200  # type: ignore[arg-type]


def test_a_run_without_answers_says_so(owner_client: Client, run: Run, team: Team, owner: User) -> None:
    (run.uses.get(name="evaluate").stage.folder / "answers.jsonl").unlink()
    page = owner_client.get(NEW, {"run": run.pk})
    assert page.status_code == 400 and f"The answers of run #{run.pk} are not there" in page.content.decode()


def test_another_teams_run_is_not_there(owner_client: Client, stranger: User, other_team: Team) -> None:
    theirs = evaluated(other_team, stranger, "theirs", ["yes"] * len(PROMPTS))
    assert owner_client.get(NEW, {"run": theirs.pk}).status_code == 404
    mine = owner_client.get(NEW).content.decode()
    assert "theirs" not in mine
