"""A front's page: hypervolumes worked out by hand, the order of a line, links to each policy, queries that stay few."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.fronts.made import evaluated, judged_front
from webapp.accounts.models import Team, User
from webapp.fronts.models import PolicyFront, PolicyPoint
from webapp.fronts.results import FrontPage

WIN, TIE, LOSS = 0.9, 0.5, 0.1


def column(wins: int, of: int = 4) -> list[float | None]:
    return [WIN] * wins + [LOSS] * (of - wins)


def line_of(team: Team, owner: User, *wins: tuple[int, int], kind: str = PolicyPoint.Kind.LINE) -> PolicyFront:
    """A front whose points won so many of four prompts on each of two principles."""
    return judged_front(team, owner, [
        (f"point {place}", {"factuality": column(first), "conciseness": column(second)})
        for place, (first, second) in enumerate(wins)], kind=kind)


def test_the_hypervolume_of_a_line_is_that_of_its_stairs(team: Team, owner: User) -> None:
    """Ends (1, 1/4) and (1/4, 1) cover 1/4 + 3/16 = 7/16; a middle at (3/4, 3/4) makes it 11/16."""
    page = FrontPage(line_of(team, owner, (4, 1), (3, 3), (1, 4)), {})
    assert page.volume is not None and page.volume.value == pytest.approx(11 / 16)
    assert page.volume.low <= 11 / 16 <= page.volume.high
    gain = page.gain
    assert gain is not None and gain.points == 3
    assert gain.all.value == pytest.approx(11 / 16) and gain.ends.value == pytest.approx(7 / 16)
    assert gain.beyond.value == pytest.approx(4 / 16)
    assert gain.beyond.low <= gain.beyond.value <= gain.beyond.high
    assert gain.added == pytest.approx(4 / 7)


def test_a_valley_between_the_ends_adds_nothing_and_is_dominated(team: Team, owner: User, owner_client: Client) -> None:
    front = line_of(team, owner, (4, 2), (2, 1), (2, 4))
    page = FrontPage(front, {})
    assert page.gain is not None and page.gain.added == pytest.approx(0)
    assert [line.is_on_front for line in page.rows] == [True, False, True]
    assert [line.dominated_by for line in page.rows] == [0, 2, 0]
    text = owner_client.get(f"/fronts/{front.pk}/").content.decode()
    assert "dominated by 2" in text and "0% of what the ends cover" in text


def test_a_line_is_drawn_in_its_order_and_other_kinds_apart(team: Team, owner: User) -> None:
    page = FrontPage(line_of(team, owner, (4, 1), (3, 3), (1, 4)), {})
    assert page.drawing is not None
    by_place = {mark.point.point.row.place: f"{mark.x},{mark.y}" for mark in page.drawing.marks}
    assert page.lines == [" ".join(by_place[place] for place in range(3))]
    mixes = FrontPage(line_of(team, owner, (4, 1), (1, 4), kind=PolicyPoint.Kind.MIX), {})
    assert mixes.lines == [] and mixes.gain is None


def test_the_axes_stand_in_the_address(team: Team, owner: User, owner_client: Client) -> None:
    columns = {name: column(2) for name in ("overall", "factuality", "conciseness", "toxicity")}
    front = judged_front(team, owner, [("a", columns), ("b", columns)])
    page = FrontPage(front, {"x": "toxicity", "y": "overall"})
    assert (page.x.key, page.y.key) == ("toxicity", "overall")
    assert (FrontPage(front, {}).x.key, FrontPage(front, {}).y.key) == ("factuality", "conciseness")
    odd = FrontPage(front, {"x": "toxicity", "y": "toxicity"})
    assert odd.x != odd.y
    assert owner_client.get(f"/fronts/{front.pk}/?x=%00&y=nothing").status_code in {200, 400}


def test_each_policy_is_steered_from_and_a_single_one_is_chatted_with(team: Team, owner: User) -> None:
    first, middle, _ = [line.point for line in FrontPage(line_of(team, owner, (4, 1), (3, 3), (1, 4)), {}).rows]
    assert parse_qs(urlsplit(middle.steer).query) == {"p": ["tuned:1", "tuned:2"], "w": ["0.5", "0.5"]}
    assert middle.chat == "", "it has to be saved as a mix before"
    PolicyPoint.objects.filter(pk=first.row.pk).update(parts=[["tuned:1@20", 1.0]], mix=None)
    first.row.refresh_from_db()
    assert first.chat == "/playground/?policy=tuned%3A1%4020"
    first.row.mix = 5
    assert first.chat == "/playground/?policy=mix%3A5"


def test_a_front_with_one_question_has_no_second_axis_and_still_a_page(
        team: Team, owner: User, owner_client: Client) -> None:
    front = judged_front(team, owner, [("a", {"overall": column(2)}), ("b", {"overall": column(3)})])
    text = owner_client.get(f"/fronts/{front.pk}/").content.decode()
    assert 'id="axis-x"' not in text and "75%" in text


def test_a_verdict_that_is_missing_is_not_counted(team: Team, owner: User) -> None:
    columns: dict[str, list[float | None]] = {"factuality": [WIN, None, TIE, LOSS], "conciseness": [None] * 4}
    page = FrontPage(judged_front(team, owner, [("a", columns)]), {})
    assert page.judged[0].values["factuality"].value == pytest.approx(0.5)
    assert page.front is None and page.rows[0].cells[1] == "–"


def test_no_page_runs_more_queries_for_more_rows(team: Team, owner: User, owner_client: Client) -> None:
    run = evaluated(team, owner, "A", ["yes"] * 6)

    def counts() -> list[int]:
        numbers = []
        for address in ("/fronts/", f"/fronts/{PolicyFront.objects.latest('pk').pk}/", f"/fronts/new/?run={run.pk}"):
            owner_client.get(address)
            with CaptureQueriesContext(connection) as queries:
                assert owner_client.get(address).status_code == 200
            numbers.append(len(queries))
        return numbers

    line_of(team, owner, (4, 1), (1, 4))
    few = counts()
    evaluated(team, owner, "B", ["yes"] * 6)
    line_of(team, owner, *[(place % 5, 4 - place % 5) for place in range(11)])
    assert counts() == few


def test_the_page_of_a_front_that_is_under_way_loads_itself_again(
        team: Team, owner: User, owner_client: Client) -> None:
    front = line_of(team, owner, (4, 1), (1, 4))
    PolicyFront.objects.update(status="judging", done=3, total=9)
    text = owner_client.get(f"/fronts/{front.pk}/").content.decode()
    assert "3 of 9 verdicts" in text and f'hx-get="/fronts/{front.pk}/state/' in text
    owner_client.post(f"/fronts/{front.pk}/cancel/")
    assert "started again, it makes the others" in owner_client.get(f"/fronts/{front.pk}/state/").content.decode()


def test_a_front_is_deleted_after_a_question(team: Team, owner: User, owner_client: Client) -> None:
    front = line_of(team, owner, (4, 1), (1, 4))
    assert "Delete the front “A line”?" in owner_client.post(f"/fronts/{front.pk}/delete/").content.decode()
    owner_client.post(f"/fronts/{front.pk}/delete/", {"confirmed": "yes"})
    assert not PolicyFront.objects.exists() and not PolicyPoint.objects.exists()


def test_the_list_and_the_links_to_it(team: Team, owner: User, owner_client: Client) -> None:
    assert "No front yet" in owner_client.get("/fronts/").content.decode()
    front = line_of(team, owner, (4, 1), (1, 4))
    newer = line_of(team, owner, (4, 1), (1, 4))
    newer.points.filter(place=1).update(outcomes={})
    page = owner_client.get("/fronts/").content.decode()
    assert page.index(f'href="/fronts/{newer.pk}/"') < page.index(f'href="/fronts/{front.pk}/"')
    assert page.count("to be judged") == 1 and "1 to be judged" in page
    runs = [evaluated(team, owner, name, ["yes"] * 6) for name in "AB"]
    assert f"/fronts/new/?run={runs[0].pk}" in owner_client.get(f"/runs/{runs[0].pk}/").content.decode()
    compared = owner_client.get(f"/runs/compare/?run={runs[0].pk}&run={runs[1].pk}").content.decode()
    assert f"/fronts/new/?run={runs[0].pk}&amp;other={runs[1].pk}" in compared
    assert 'href="/fronts/"' in owner_client.get("/playground/steer/").content.decode()
