"""The responses of a run's training: filtered, sorted, downloaded, and nobody else's."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import make_run
from training.config import Recipe, shipped_recipe
from training.run.artifacts import ROLLOUTS
from webapp.accounts.models import Team, User
from webapp.runs.models import Run
from webapp.runs.rollouts.table import Query, Rollouts

pytestmark = pytest.mark.django_db
NAMES = ("factuality", "toxicity")


def row(step: int, response: str, factuality: float, toxicity: float, **more: Any) -> dict[str, Any]:
    """A response whose reward is the mean of its scores; raw scores are ten times as large."""
    mean = (factuality + toxicity) / 2
    return {"step": step, "prompt": f"Prompt of {response}", "response": response, "reward": mean, "total": mean,
            "kl": 0.25, "tokens": len(response), "ended": True,
            "active": NAMES[toxicity > factuality], "raw/factuality": 10 * factuality, "raw/toxicity": 10 * toxicity,
            "standardised/factuality": factuality, "standardised/toxicity": toxicity} | more


ROWS = [row(1, "Ada.", 1.0, -1.0), row(1, "=SUM(A1)", 0.0, 2.0), row(3, "Äpfel, \"two\"", -1.5, 0.5, ended=False),
        row(3, "Nobody knows.", 0.5, 0.25)]


def keep(folder: Path, rows: list[dict[str, Any]]) -> None:
    """A file for each phase, as a stage writes them."""
    (folder / ROLLOUTS).mkdir(parents=True)
    for step in sorted({kept["step"] for kept in rows}):
        table = pa.Table.from_pylist([kept for kept in rows if kept["step"] == step])
        pq.write_table(table, folder / ROLLOUTS / f"{step:08d}.parquet")


@pytest.fixture
def run(team: Team, owner: User) -> Run:
    made, stages = make_run(team, owner, until="", status=Run.Status.SUCCEEDED)
    keep(stages["ppo"].folder, ROWS)
    return made


def responses(kept: Rollouts, query: Query) -> list[str]:
    return [values["response"] for values in kept.rows(kept.order(query))]


@pytest.mark.parametrize(("query", "expected"), [
    (Query(), [2, 3, 0, 1]),  # the newest step first, within it as they came
    (Query(descending=False), [0, 1, 2, 3]),
    (Query(sort="standardised/toxicity"), [1, 2, 3, 0]),
    (Query(sort="reward", descending=False), [2, 0, 3, 1]),
    (Query(sort="reward", low=0.0), [1, 3, 0]),
    (Query(sort="standardised/factuality", low=0.0, high=0.5), [3, 1]),
    (Query(step=3), [2, 3]),
    (Query(active="toxicity"), [2, 1]),
    (Query(words="äPFEL"), [2]),
    (Query(words="prompt of nobody"), [3]),
    (Query(words="(A1)"), [1]),  # words, no pattern
    (Query(words="nothing has this"), []),
])
def test_responses_are_chosen_and_ordered(tmp_path: Path, query: Query, expected: list[int]) -> None:
    keep(tmp_path, ROWS)
    assert responses(Rollouts(tmp_path), query) == [ROWS[index]["response"] for index in expected]


def test_a_stage_that_keeps_nothing_has_nothing(tmp_path: Path) -> None:
    assert not Rollouts(tmp_path)


def test_the_page_shows_what_the_address_asks_for(run: Run, client: Client, owner: User) -> None:
    client.force_login(owner)
    page = client.get(f"/runs/{run.pk}/rollouts/?sort=standardised/toxicity&low=0.3").content.decode()
    assert page.index("=SUM(A1)") < page.index("Äpfel") and "Nobody knows." not in page
    assert "2 responses" in page and "of 4 kept from 2 steps" in page and "cut off" in page
    assert f"/runs/{run.pk}/rollouts.csv?sort=standardised" in page
    assert f'href="/runs/{run.pk}/rollouts/"' in client.get(f"/runs/{run.pk}/").content.decode()


def test_what_cannot_be_read_is_said_and_left_out(run: Run, client: Client, owner: User) -> None:
    client.force_login(owner)
    answer = client.get(f"/runs/{run.pk}/rollouts/?sort=colour&low=much&high=inf&active=beauty&step=x&page=99")
    page = answer.content.decode()
    assert answer.status_code == 200 and page.count("is no number") == 3
    assert "&#x27;colour&#x27; is not in this run" in page and "&#x27;beauty&#x27; is not in this run" in page
    assert "4 responses" in page


def test_files_hold_the_chosen_responses_in_order(run: Run, client: Client, owner: User) -> None:
    client.force_login(owner)
    answer = client.get(f"/runs/{run.pk}/rollouts.csv?step=1&order=up")
    lines = list(csv.DictReader(io.StringIO(content_of(answer).decode())))
    assert [line["response"] for line in lines] == ["Ada.", "'=SUM(A1)"], "no cell is a formula"
    assert [float(line["raw/toxicity"]) for line in lines] == [-10.0, 20.0]
    answer = client.get(f"/runs/{run.pk}/rollouts.parquet?words=nobody")
    assert pq.read_table(io.BytesIO(content_of(answer))).to_pylist() == [ROWS[3]]
    assert answer["Content-Disposition"].endswith('rollouts.parquet"')


def content_of(answer: Any) -> bytes:
    assert isinstance(answer, StreamingHttpResponse)

    async def whole() -> bytes:
        return b"".join([part async for part in answer.streaming_content])  # type: ignore[union-attr]

    return async_to_sync(whole)()


@pytest.mark.parametrize(("recipe", "words"), [
    (shipped_recipe("demo"), "written at the first checkpoint"),
    (shipped_recipe("demo").model_copy(update={"ppo": shipped_recipe("demo").ppo.model_copy(
        update={"keep_rollouts": 0})}), "keeps none"),
])
def test_a_run_without_them_says_why(team: Team, owner: User, client: Client, recipe: Recipe, words: str) -> None:
    made, _ = make_run(team, owner, recipe=recipe)
    client.force_login(owner)
    assert words in client.get(f"/runs/{made.pk}/rollouts/").content.decode()
    assert client.get(f"/runs/{made.pk}/rollouts.csv").status_code == 404


def test_they_are_the_teams_own(run: Run, client: Client, other_team: Team, stranger: User) -> None:
    client.force_login(stranger)
    for address in ("rollouts/", "rollouts.csv", "rollouts.parquet"):
        assert client.get(f"/runs/{run.pk}/{address}").status_code == 404


def test_queries_do_not_grow_with_responses(team: Team, owner: User, client: Client,
                                            django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    made, stages = make_run(team, owner, until="", status=Run.Status.SUCCEEDED)
    keep(stages["ppo"].folder, [row(step, f"Answer {step} {index}", index / 9, step / 9)
                                for step in range(1, 30) for index in range(20)])
    client.force_login(owner)
    client.get(f"/runs/{made.pk}/rollouts/")
    with django_assert_max_num_queries(12):
        page = client.get(f"/runs/{made.pk}/rollouts/?page=29").content.decode()
    assert "561 to 580 of 580" in page


def test_other_weights_are_tried_and_carried_into_a_new_run(run: Run, client: Client, owner: User) -> None:
    """By toxicity alone, the second and third response overtake the others."""
    client.force_login(owner)
    own = client.get(f"/runs/{run.pk}/what-if/").content.decode()
    assert "0.0%" in own and "tau" in own
    page = client.get(f"/runs/{run.pk}/what-if/?weight.factuality=0&weight.toxicity=1").content.decode()
    assert "Start a run with these" in page and "disagree most" in page and "Äpfel" in page
    address = re.search(r'href="(/runs/new/\?clone=[^"]+)"', page)
    assert address and "weight.toxicity=1" in address[1]
    form = client.get(unescape(address[1])).content.decode()
    assert re.search(r'name="weight:toxicity" value="1(\.0)?"', form)
    assert re.search(r'name="weight:factuality" value="0(\.0)?"', form)


@pytest.mark.parametrize(("address", "words"), [
    ("weight.toxicity=much", "weight"), ("scalarization.function=best", "scalarization"),
    ("scalarization.function=worst_case&weight.factuality=0&weight.toxicity=-1", "No principle has a weight"),
])
def test_settings_that_cannot_be_are_said_by_name(run: Run, client: Client, owner: User, address: str,
                                                  words: str) -> None:
    client.force_login(owner)
    answer = client.get(f"/runs/{run.pk}/what-if/?{address}")
    page = answer.content.decode()
    assert answer.status_code == 200 and "were not taken" in page
    assert words in page[page.index("were not taken"):page.index("were not taken") + 300]


def test_shares_are_those_of_the_weights_that_are_tried(team: Team, owner: User, client: Client) -> None:
    """In the part of the page that changes with them: 9 of 13 is toxicity's."""
    made, stages = make_run(team, owner, until="", status=Run.Status.SUCCEEDED)
    keep(stages["ppo"].folder, [row(1, f"Answer {index}", index / 7, -index / 9) for index in range(8)])
    client.force_login(owner)
    page = client.get(f"/runs/{made.pk}/what-if/?weight.toxicity=9").content.decode()
    result = page[page.index('id="what-if-result"'):]
    assert '<td class="num">69%</td>' in result and "69%" not in page[:page.index('id="what-if-result"')]


def test_what_if_needs_responses_and_the_right_team(team: Team, other_team: Team, owner: User, stranger: User, run: Run,
                                                    client: Client) -> None:
    made, _ = make_run(team, owner)
    client.force_login(owner)
    assert client.get(f"/runs/{made.pk}/what-if/").status_code == 404
    client.force_login(stranger)
    assert client.get(f"/runs/{run.pk}/what-if/").status_code == 404
