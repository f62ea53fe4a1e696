"""The page that compares runs: which runs it takes, whom it opens for, and what it costs for two and for twelve."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.processes import ROOT
from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from webapp.accounts.models import Team, User
from webapp.principles.hues import contrast
from webapp.runs.models import Run, Sample, Stage

PAGE = "/runs/compare/"
METRICS = "/runs/compare/metrics/"


def query(*runs: Run | int) -> str:
    return "?" + "&".join(f"run={run if isinstance(run, int) else run.pk}" for run in runs)


def finished(team: Team, owner: User, name: str, steps: int = 20) -> Run:
    run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name=name)
    fill(stages, steps)
    finish(stages)
    return run


def test_two_runs_stand_side_by_side_in_the_order_of_the_address(
        teammate_client: Client, team: Team, owner: User) -> None:
    first, second = finished(team, owner, "the first"), finished(team, owner, "the second")
    page = teammate_client.get(PAGE + query(second, first))
    assert page.status_code == 200
    assert [(compared.letter, compared.run.name) for compared in page.context["runs"]] == [
        ("A", "the second"), ("B", "the first")]
    for words in ("Compare 2 runs", "81%", "76% to 86%", "within noise", "The harbour of Avela is Tarn."):
        assert words in page.content.decode(), words


def test_a_link_makes_another_run_the_baseline_and_keeps_the_order_of_the_others(
        owner_client: Client, team: Team, owner: User) -> None:
    a, b, c = (make_run(team, owner, name=name)[0] for name in "abc")
    runs = owner_client.get(PAGE + query(a, b, c)).context["runs"]
    assert [compared.is_baseline for compared in runs] == [True, False, False]
    assert runs[2].as_baseline == query(c, a, b)
    assert runs[1].without == query(a, c)
    assert owner_client.get(PAGE + query(a, b)).context["runs"][0].without == "", "one run alone is no comparison"


@pytest.mark.parametrize(("address", "cause", "remedy"), [
    ("", "This address names no run.", "check the box of each run"),
    ("?run=7", "This address names one run, #7.", "check the box of each run"),
    ("?run=7&run=7", "This address names one run, #7.", "check the box of each run"),
    (query(*range(1, 14)), "This address names 13 runs.", "leave at most 12 boxes checked"),
    ("?run=7&run=seven", "&#x27;seven&#x27; is not the number of a run.", "Choose the runs in the list"),
    (f"?run=7&run={10**30}", "is not the number of a run.", "Choose the runs in the list"),
])
def test_an_address_that_names_no_comparison_says_so_and_what_to_do(
        owner_client: Client, address: str, cause: str, remedy: str) -> None:
    page = owner_client.get(PAGE + address)
    assert page.status_code == 400
    assert cause in page.content.decode() and remedy in page.content.decode()
    assert 'href="/runs/"' in page.content.decode()


def test_a_run_of_another_team_is_as_unknown_as_one_that_never_was(
        stranger_client: Client, team: Team, other_team: Team, owner: User, stranger: User) -> None:
    secret, _ = make_run(team, owner, name="secret plan")
    own, _ = make_run(other_team, stranger, name="their own")
    for number in (secret.pk, 999_999):
        for address in (PAGE, METRICS):
            answer = stranger_client.get(f"{address}{query(own, number)}&tags=reward/total")
            assert answer.status_code == 404
            assert f"There is no run #{number} in this team." in answer.content.decode()
            assert "secret plan" not in answer.content.decode()


def test_twelve_runs_take_no_more_queries_than_two(owner_client: Client, team: Team, owner: User) -> None:
    runs = [finished(team, owner, str(number), steps=10) for number in range(12)]
    counts = {}
    for address in (PAGE, METRICS):
        for count in (2, 12):
            with CaptureQueriesContext(connection) as queries:
                answer = owner_client.get(f"{address}{query(*runs[:count])}&tags=reward/total,kl/mean")
            assert answer.status_code == 200
            counts[address, count] = len(queries)
    assert counts[PAGE, 2] == counts[PAGE, 12]
    assert counts[METRICS, 2] == counts[METRICS, 12]


def test_runs_that_have_only_begun_are_drawn(owner_client: Client, team: Team, owner: User) -> None:
    begun, _ = make_run(team, owner, until="sample", name="begun")
    ended, _ = make_run(team, owner, until="sample", name="ended", status=Run.Status.CANCELLED)
    page = owner_client.get(PAGE + query(begun, ended)).content.decode()
    for words in ("no evaluation yet", "no PPO yet", "No curves yet", "No prompt has answers of two runs yet",
                  f"Still under way: #{begun.pk}. Reload"):
        assert words in page, words


def test_a_run_whose_settings_cannot_be_read_is_left_out_of_what_differs(
        owner_client: Client, team: Team, owner: User) -> None:
    run, other = finished(team, owner, "readable"), finished(team, owner, "of another version")
    Run.objects.filter(pk=other.pk).update(recipe={"principles": []})
    page = owner_client.get(PAGE + query(run, other))
    assert page.status_code == 200
    assert f"stored the settings of #{other.pk}: left out" in page.content.decode()
    assert "of another version" in page.content.decode()


# Answers --------------------------------------------------------------------------------------------------------------


def say(stage: Stage, step: int, index: int, prompt: str, response: str) -> None:
    Sample.objects.create(stage=stage, step=step, index=index, prompt=prompt, response=response, reward=0.5, rewards={})


def test_answers_are_matched_by_their_prompt_at_each_runs_own_last_step(
        owner_client: Client, team: Team, owner: User) -> None:
    (first, of_first), (second, of_second) = make_run(team, owner), make_run(team, owner)
    say(of_first["ppo"], 10, 0, "Where is Avela?", "early")
    say(of_first["ppo"], 20, 0, "Where is Avela?", "in the north")
    say(of_first["ppo"], 20, 1, "Only asked in the first", "alone")
    say(of_second["ppo"], 7, 3, "Where is Avela?", "near Tarn")
    answers = owner_client.get(PAGE + query(first, second)).context["answers"]
    assert [(answered.prompt, [(sample.step, sample.response) for _, sample in answered.answers])
            for answered in answers.prompts] == [("Where is Avela?", [(20, "in the north"), (7, "near Tarn")])]


def test_a_run_without_the_prompt_has_an_empty_place(owner_client: Client, team: Team, owner: User) -> None:
    made = [make_run(team, owner) for _ in range(3)]
    for place in (0, 2):
        say(made[place][1]["ppo"], 5, 0, "Where is Avela?", f"answer {place}")
    answers = owner_client.get(PAGE + query(*(run for run, _ in made))).context["answers"]
    assert [sample and sample.response for _, sample in answers.prompts[0].answers] == ["answer 0", None, "answer 2"]


def test_eight_prompts_are_shown_and_the_number_of_all_is_said(owner_client: Client, team: Team, owner: User) -> None:
    made = [make_run(team, owner) for _ in range(2)]
    for index in range(9):
        for _, stages in made:
            say(stages["ppo"], 5, index, f"Question {index}?", "yes")
    page = owner_client.get(PAGE + query(*(run for run, _ in made))).content.decode()
    assert "Question 7?" in page and "Question 8?" not in page
    assert "The first 8 of 9 prompts." in page


# Curves ---------------------------------------------------------------------------------------------------------------


def points(client: Client, address: str) -> dict[tuple[int, str], tuple[list[int], list[float]]]:
    series: list[dict[str, Any]] = client.get(address).json()["series"]
    return {(each["stage"], each["tag"]): (each["x"], each["last"]) for each in series}


def test_the_points_of_all_runs_come_in_one_answer(owner_client: Client, team: Team, owner: User) -> None:
    (first, of_first), (second, of_second) = make_run(team, owner), make_run(team, owner)
    add_points(of_first["ppo"], "reward/total", [1, 2, 3], [1.0, 2.0, 4.0], size=2)  # in two chunks
    add_points(of_first["ppo"], "kl/mean", [1], [9.0])
    add_points(of_second["ppo"], "reward/total", [2, 4], [0.5, 0.25])
    assert points(owner_client, f"{METRICS}{query(first, second)}&tags=reward/total") == {
        (of_first["ppo"].pk, "reward/total"): ([1, 2, 3], [1.0, 2.0, 4.0]),
        (of_second["ppo"].pk, "reward/total"): ([2, 4], [0.5, 0.25])}


def test_by_time_each_run_begins_at_0(owner_client: Client, team: Team, owner: User) -> None:
    """In the seeds a step takes a second."""
    made = [make_run(team, owner) for _ in range(2)]
    add_points(made[0][1]["ppo"], "kl/mean", [3, 4, 6], [1.0, 2.0, 3.0])
    add_points(made[1][1]["ppo"], "kl/mean", [10, 15], [1.0, 2.0])
    address = f"{METRICS}{query(*(run for run, _ in made))}&tags=kl/mean&x=time"
    assert [x for x, _ in points(owner_client, address).values()] == [[0, 1, 3], [0, 5]]


def test_a_principle_has_a_chart_where_two_runs_have_it(owner_client: Client, team: Team, owner: User) -> None:
    (first, of_first), (second, of_second) = make_run(team, owner), make_run(team, owner)
    for stages, tags in ((of_first, ("kl/mean", "principle/toxicity/raw", "principle/factuality/raw", "policy/loss")),
                         (of_second, ("principle/toxicity/raw", "policy/loss"))):
        for tag in tags:
            add_points(stages["ppo"], tag, [1], [1.0])
    assert owner_client.get(PAGE + query(first, second)).context["chart_data"]["tags"] == [
        "kl/mean", "principle/toxicity/raw"]


def test_two_runs_that_share_their_training_share_its_curve(owner_client: Client, team: Team, owner: User) -> None:
    first, stages = make_run(team, owner)
    second, _ = make_run(team, owner, share=stages)
    add_points(stages["ppo"], "principle/toxicity/raw", [1], [1.0])
    data = owner_client.get(PAGE + query(first, second)).context["chart_data"]
    assert data["tags"] == ["principle/toxicity/raw"]
    assert [run["stage"] for run in data["runs"]] == [stages["ppo"].pk, stages["ppo"].pk]


@pytest.mark.parametrize(("wrong", "words"), [("", "tags: name at least one series"), ("&tags=a&width=wide", "width")])
def test_a_request_for_points_that_cannot_be_answered_names_the_field(
        owner_client: Client, team: Team, owner: User, wrong: str, words: str) -> None:
    runs = [make_run(team, owner)[0] for _ in range(2)]
    answer = owner_client.get(f"{METRICS}{query(*runs)}{wrong}")
    assert answer.status_code == 400 and words in answer.json()["error"]
    assert owner_client.get(f"{METRICS}?run=1&tags=kl/mean").json()["error"].startswith("This address names one run")


def test_every_run_has_a_colour_that_can_be_read_on_light_and_on_dark() -> None:
    """Letters of that colour stand on the least favourable surface of each theme."""
    rules = re.findall(r"\.hue-_run-(\d+) \{ --hue: light-dark\((#\w{6}), (#\w{6})\); \}",
                       (ROOT / "webapp/static/css/compare.css").read_text(encoding="utf-8"))
    assert [int(number) for number, *_ in rules] == list(range(1, 13))
    assert len({light for _, light, _ in rules}) == len({dark for *_, dark in rules}) == 12
    for number, light, dark in rules:
        assert contrast(light, "#f1f3f5") >= 4.5 and contrast(dark, "#1f242b") >= 4.5, number


# The list of runs -----------------------------------------------------------------------------------------------------


def test_each_row_of_the_list_can_be_checked_for_the_comparison(owner_client: Client, team: Team, owner: User) -> None:
    run, _ = make_run(team, owner, name="a run")
    page = owner_client.get("/runs/").content.decode()
    assert '<form id="compare" class="compare-bar" method="post" action="/runs/many/">' in page
    assert f'form="compare" name="run" value="{run.pk}"' in page
    assert f"Check a run #{run.pk}" in page
