"""The report of one run and of several: one file that is whole without a server, small, and safe to open."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.runs.seeds import add_log, add_points, fill, finish, make_run
from tests.webapp.runs.test_comparing_runs import finished, query
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage

REPORT = "/runs/compare/report.html"


class Tags(HTMLParser):
    """Every element of a file with its attributes, and whether all that opened was closed."""

    VOID = {"meta", "br", "hr", "img", "input", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_the_report_of_a_run_is_one_file_that_asks_for_nothing(
        teammate_client: Client, team: Team, owner: User) -> None:
    run = finished(team, owner, "the run")
    answer = teammate_client.get(f"/runs/{run.pk}/report.html")
    text = answer.content.decode()
    assert answer.headers["Content-Disposition"] == f'attachment; filename="run-{run.pk}-the-run.html"'
    tags = Tags(text)
    assert not tags.open
    assert not {"script", "link", "img", "iframe", "object", "form", "use"} & {tag for tag, _ in tags.seen}
    assert not re.search(r"url\(|@import|\bsrc=", text)
    addresses = [given["href"] or "" for tag, given in tags.seen if "href" in given]
    assert {address for address in addresses if not address.startswith("#")} == {f"http://testserver/runs/{run.pk}/"}
    for words in ("81%", "76% to 86%", "In the north.", "I do not know", "KL is above twice its target.",
                  "scalarization:", "Concord 0.1.0", team.name, "light-dark(#ffffff"):
        assert words in text, words


def test_every_table_has_a_caption_and_every_chart_a_title(owner_client: Client, team: Team, owner: User) -> None:
    runs = [finished(team, owner, name) for name in ("one", "two")]
    text = owner_client.get(REPORT + query(*runs)).content.decode()
    assert text.count("<table>") == text.count("<caption>") > 4
    assert text.count("<svg") == text.count("<title>") - 1 > 4, "the first title is the page's"
    assert text.count("<h1>") == 1


def test_a_run_with_markup_for_a_name_is_only_text(owner_client: Client, team: Team, owner: User) -> None:
    nasty = "<script>alert(1)</script>"
    run, other = finished(team, owner, nasty), finished(team, owner, 'x" onload="y')
    add_log(Stage.objects.filter(runs=run, kind="ppo").get(), nasty, level="warning", code="odd")
    for address in (f"/runs/{run.pk}/report.html", REPORT + query(run, other)):
        text = owner_client.get(address).content.decode()
        assert "&lt;script&gt;alert(1)" in text
        assert "script" not in {tag for tag, _ in Tags(text).seen}
        assert not any(name.startswith("on") for _, given in Tags(text).seen for name in given)


def test_the_differences_and_their_noise_are_those_of_the_page(owner_client: Client, team: Team, owner: User) -> None:
    first, second = finished(team, owner, "first"), finished(team, owner, "second")
    stage = Stage.objects.get(runs=second, kind="evaluate")
    stage.summary["overall"] |= {"win_rate": 0.6, "low": 0.55, "high": 0.65}
    stage.save()
    text = owner_client.get(REPORT + query(first, second)).content.decode()
    assert "▼ −21 points, larger than the noise" in text
    assert "Settings that differ" in text


def test_twelve_runs_with_long_curves_stay_under_two_megabytes_and_take_no_more_queries(
        owner_client: Client, team: Team, owner: User) -> None:
    runs, steps, rng = [], np.arange(1, 5001), np.random.default_rng(0)
    for number in range(12):
        run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name=str(number))
        for tag in ("reward/total", "kl/mean", *(f"principle/p{place}/standardised" for place in range(12))):
            add_points(stages["ppo"], tag, steps.tolist(), rng.normal(size=5000).tolist())
        finish(stages)
        runs.append(run)
    counts = []
    for several in (runs[:2], runs):
        with CaptureQueriesContext(connection) as queries:
            answer = owner_client.get(REPORT + query(*several))
        counts.append(len(queries))
    assert answer.content.count(b'class="curve"') == 12 * 14
    assert len(answer.content) < 2_000_000
    assert counts[0] == counts[1]


def test_a_spike_of_one_step_is_in_the_band(owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    values = [0.0] * 5000
    values[2500] = 100.0
    add_points(stages["ppo"], "kl/mean", list(range(5000)), values)
    text = owner_client.get(f"/runs/{run.pk}/report.html").content.decode()
    band = re.search(r'class="band" d="M([^"]+)Z"', text)
    assert band is not None
    heights = {float(point.split(" ")[1]) for point in band[1].split("L")}
    assert min(heights) < 20 and max(heights) > 130, "the whole height of the chart, from 8 to 146"


def test_a_run_that_has_only_begun_and_one_that_cannot_be_read_have_a_report(
        owner_client: Client, team: Team, owner: User) -> None:
    begun, _ = make_run(team, owner, until="sample", name="begun")
    other = finished(team, owner, "of another version")
    Run.objects.filter(pk=other.pk).update(recipe={"principles": []})
    assert "No stage warned of anything." in owner_client.get(f"/runs/{begun.pk}/report.html").content.decode()
    text = owner_client.get(REPORT + query(begun, other)).content.decode()
    assert f"The settings of #{other.pk} were stored by another version" in text


@pytest.mark.parametrize(("address", "status"), [("", 400), ("?run=1", 400), ("?run=1&run=x", 400),
                                                 ("?run=998&run=999", 404)])
def test_an_address_that_names_no_runs_says_so(
        address: str, status: int, owner_client: Client, team: Team) -> None:
    assert owner_client.get(REPORT + address).status_code == status


def test_another_teams_run_has_no_report(stranger_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner, name="secret plan")
    fill(stages, 4)
    assert stranger_client.get(f"/runs/{run.pk}/report.html").status_code == 404
    assert stranger_client.get(REPORT + query(run, run.pk + 1)).status_code == 404
