"""Policies of several runs against each other: common prompts, a price before, verdicts bought once, a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.runs.seeds import make_run
from training.config import Recipe, shipped_recipe
from training.errors import JudgeUnavailable
from training.judges.judge import Listener, PairQuestion, PairRequest, collect, verdict_from_orders
from training.run.artifacts import write_jsonl
from webapp.accounts.models import Team, User
from webapp.runs.head_to_head import asking, services
from webapp.runs.models import HeadToHead, Run

NEW = "/runs/compare/head-to-head/new/"
PROMPTS = [[{"role": "user", "content": f"Question {number}?"}] for number in range(6)]
Sent = list[tuple[str, tuple[object, ...], str]]


class LongerWins:
    """A judge that prefers the longer answer, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[PairQuestion] = []
        self.fails_after = 10**9

    async def compare(self, items: Sequence[PairQuestion], on_verdict: Any = None) -> Any:
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        for request in requests:
            if len(self.asked) >= self.fails_after:
                raise JudgeUnavailable("The judge does not answer.", "Start its server.")
            self.asked.append(request.item)
            share = 0.9 if len(request.item.a) > len(request.item.b) else 0.1
            listener.judged(request, verdict_from_orders(share, share, 10, "fake"))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> LongerWins:
    fake = LongerWins()
    monkeypatch.setattr(asking, "make_judge", lambda settings, key: fake)
    return fake


def recipe_of(**judge: Any) -> Recipe:
    demo = shipped_recipe("demo")
    settings = {"kind": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:9/v1", "price_in": 1.0} | judge
    return demo.model_copy(update={"judge": type(demo.judge).model_validate(settings)})


def evaluated(team: Team, owner: User, name: str, answers: Sequence[str], *, base: Sequence[str] = (),
              prompts: Sequence[Any] = PROMPTS, recipe: Recipe | None = None,
              verdicts: dict[str, float] | None = None) -> Run:
    """A finished run whose evaluation kept these answers; the base says 'no' to everything."""
    recipe = recipe or recipe_of()
    run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name=name, recipe=recipe)
    stage = stages["evaluate"]
    stage.settings = {"judge": recipe.judge.model_dump(mode="json"),
                      "principles": {choice.name: choice.wording for choice in recipe.principles}}
    stage.save()
    stage.folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(stage.folder / "answers.jsonl", [
        {"prompt": prompt, "policy": answer, "base": base[place] if base else "no", "verdicts": verdicts or {}}
        for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))])
    return run


@pytest.fixture
def runs(team: Team, owner: User) -> list[Run]:
    """By length: the second wins on five prompts and ties the last; the third is the longest on all but one."""
    return [evaluated(team, owner, "short", ["yes"] * 5 + ["yes indeed"]),
            evaluated(team, owner, "middle", ["yes indeed"] * 6),
            evaluated(team, owner, "long", ["yes, as long as it can be"] * 5 + ["y"])]


def fields(runs: Sequence[Run], **chosen: Any) -> dict[str, Any]:
    return {"run": [run.pk for run in runs], "q": ["overall"], "judge": "0", "prompts": "6"} | chosen


def start(client: Client, runs: Sequence[Run], **chosen: Any) -> HeadToHead:
    answer = client.post(NEW, fields(runs, **chosen))
    assert answer.status_code == 302, answer.content.decode()
    return HeadToHead.objects.latest("pk")


def work(contest: HeadToHead) -> HeadToHead:
    asking.head_to_head_run(head_to_head_id=contest.pk)
    contest.refresh_from_db()
    return contest


def shares(contest: HeadToHead, question: str = "overall") -> list[list[float | None]]:
    matrix = next(part["matrix"] for part in contest.result["questions"] if part["name"] == question)
    return [[cell and cell["win_rate"] for cell in row] for row in matrix]


def test_three_policies_meet_on_the_prompts_that_all_answered(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    contest = work(start(owner_client, runs))
    assert contest.status == "done", contest.cause
    assert shares(contest) == [[None, 0.5 / 6, 1 / 6], [5.5 / 6, None, 1 / 6], [5 / 6, 5 / 6, None]]
    assert all("yes indeed" not in (item.a, item.b) or item.a != item.b for item in judge.asked), "a tie is not asked"


def test_two_policies_with_the_same_answers_share_a_verdict(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    twins = [evaluated(team, owner, name, [text] * 6) for name, text in (("a", "one"), ("b", "one"), ("c", "longer"))]
    contest = work(start(owner_client, twins))
    assert len(judge.asked) == 6, "a against c and b against c are the same questions"
    assert shares(contest) == [[None, 0.5, 0.0], [0.5, None, 0.0], [1.0, 1.0, None]]


def test_what_was_bought_is_never_bought_again_whatever_the_order_of_the_runs(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    work(start(owner_client, runs))
    bought = len(judge.asked)
    page = owner_client.get(NEW, fields(runs[::-1])).content.decode()
    assert f'<dt>Already bought</dt><dd class="number">{bought}</dd>' in page and "Start with 0 verdicts" in page
    again = work(start(owner_client, runs[::-1]))
    assert len(judge.asked) == bought
    assert shares(again)[2][1] == pytest.approx(0.5 / 6), "the first run is the last one now"


def test_a_judge_that_fails_says_so_and_what_was_bought_stays(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    judge.fails_after = 4
    contest = work(start(owner_client, runs))
    assert (contest.status, contest.cause) == ("failed", "The judge does not answer.")
    assert "Start its server. Then start it again" in contest.remedy
    judge.fails_after = 10**9
    owner_client.post(f"/runs/compare/head-to-head/{contest.pk}/again/")
    assert work(contest).status == "done"
    assert len(judge.asked) == len({(str(item.prompt), *sorted((item.a, item.b))) for item in judge.asked})


def test_a_cancelled_one_stops_and_asks_for_the_rest_when_it_goes_on(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent,
        monkeypatch: pytest.MonkeyPatch) -> None:
    two = [evaluated(team, owner, name, [name] * 6, recipe=recipe_of(concurrency=1)) for name in ("a", "bb")]
    contest = start(owner_client, two)
    monkeypatch.setattr(asking, "PART", 1)
    buy = asking.buy_verdicts

    def cancelled_meanwhile(*arguments: Any) -> Any:
        services.head_to_head_cancel(contest=contest)
        return buy(*arguments)

    monkeypatch.setattr(asking, "buy_verdicts", cancelled_meanwhile)
    assert work(contest).status == "cancelled" and not contest.result
    assert len(judge.asked) == 4, "four at a time are in flight, and the other two are not asked"
    monkeypatch.setattr(asking, "buy_verdicts", buy)
    owner_client.post(f"/runs/compare/head-to-head/{contest.pk}/again/")
    assert work(contest).status == "done" and len(judge.asked) == 6


def test_the_base_takes_part_and_its_evaluations_verdicts_are_not_bought_again(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    two = [evaluated(team, owner, name, [name * 9] * 6, verdicts={"overall": said})
           for name, said in (("a", 0.8), ("b", 0.2))]
    contest = work(start(owner_client, two, base="on"))
    assert [{item.a, item.b} for item in judge.asked] == [{"a" * 9, "b" * 9}] * 6
    assert [row[2] for row in shares(contest)] == [1.0, 0.0, None], "as the evaluations said, not by length"


def test_bases_that_answer_differently_do_not_take_part(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    two = [evaluated(team, owner, name, [name] * 6, base=[name * 2] * 6) for name in "ab"]
    assert "no base for all of them" in owner_client.get(NEW, fields(two)).content.decode()
    assert not start(owner_client, two, base="on").with_base


def test_prompts_are_matched_by_their_text_and_counted(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    one = evaluated(team, owner, "one", ["1"] * 6)
    other = evaluated(team, owner, "other", ["22"] * 4, prompts=PROMPTS[::-1][:4])
    apart = evaluated(team, owner, "apart", ["3"], prompts=[[{"role": "user", "content": "Another?"}]])
    assert "<strong>4</strong> prompts in common" in owner_client.get(NEW, fields([one, other])).content.decode()
    page = owner_client.get(NEW, fields([one, apart]))
    assert page.status_code == 400
    assert f"#{one.pk} 6, #{apart.pk} 1 prompts" in page.content.decode()


def test_the_price_is_said_before(owner_client: Client, runs: list[Run]) -> None:
    """Three pairs of policies on six prompts are 18 questions. On the last prompt the first two runs answer alike: one
    question less, a tie, and one less again, for both meet the third with the same text. Two orders make two calls."""
    page = owner_client.get(NEW, fields(runs)).content.decode()
    assert "Start with 16 verdicts" in page and '<dd class="number">32</dd>' in page and "$" in page
    two_questions = owner_client.get(NEW, fields(runs, q=["overall", "conciseness"])).content.decode()
    assert "Start with 32 verdicts" in two_questions


def test_measured_principles_cost_nothing(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    recipe = Recipe.model_validate(recipe_of().model_dump(mode="json") | {"principles": [
        {"name": "short", "weight": 1, "statement": "shorter", "measure": {"kind": "words", "toward": "low"}}]})
    two = [evaluated(team, owner, name, [text] * 6, recipe=recipe)
           for name, text in (("a", "one"), ("b", "one two three"))]
    page = owner_client.get(NEW, fields(two, q=["overall", "short"])).content.decode()
    assert "Start with 0 verdicts" in page and "measured, free" in page
    contest = work(start(owner_client, two, q=["overall", "short"]))
    assert contest.status == "done" and not judge.asked
    assert shares(contest, "short") == [[None, 1.0], [0.0, None]] == shares(contest)


@pytest.mark.parametrize("count", [1, 9])
def test_two_to_eight_runs_meet(count: int, owner_client: Client, team: Team, owner: User) -> None:
    many = [make_run(team, owner, name=str(number))[0] for number in range(count)]
    page = owner_client.get(NEW, fields(many))
    assert page.status_code == 400 and f"these are {count}" in page.content.decode()


@pytest.mark.parametrize("query", ["", "?run=x", "?run=1&run=2", f"?run={10**30}", "?prompts=-1&judge=x&q=%00"])
def test_odd_addresses_are_answered(query: str, owner_client: Client) -> None:
    assert owner_client.get(NEW + query).status_code == 400


def test_a_run_without_answers_is_named(owner_client: Client, team: Team, owner: User, runs: list[Run]) -> None:
    bare, _ = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name="bare")
    page = owner_client.get(NEW, fields([runs[0], bare]))
    assert page.status_code == 400 and f"The answers of run #{bare.pk} are not there" in page.content.decode()


def test_the_comparison_shows_the_matrix_in_its_own_letters_and_a_link(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    before = owner_client.get(f"/runs/compare/?run={runs[0].pk}&run={runs[1].pk}").content.decode()
    assert "Compare them head to head" in before
    contest = work(start(owner_client, runs[:2]))
    page = owner_client.get(f"/runs/compare/?run={runs[1].pk}&run={runs[0].pk}")
    assert [side.title for side in page.context["contest"].sides] == ["middle", "short"]
    assert f"/runs/compare/head-to-head/{contest.pk}/" in page.content.decode()
    assert "92%" in page.content.decode() and "8%" in page.content.decode()


def test_a_team_has_one_at_work_and_the_next_is_sent_when_it_ends(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent,
        django_capture_on_commit_callbacks: Any) -> None:
    first, second = start(owner_client, runs), start(owner_client, runs[:2])
    HeadToHead.objects.filter(pk=first.pk).update(status="running", claim="x")
    assert work(second).status == "queued"
    first.refresh_from_db()
    sent.clear()
    with django_capture_on_commit_callbacks(execute=True):
        services.head_to_head_done(contest=first, result={})
    assert sent == [("workers.head_to_head", (second.pk,), "jobs")]
    assert work(second).status == "done"


def test_a_second_delivery_does_nothing(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    contest = work(start(owner_client, runs))
    asked = len(judge.asked)
    assert work(contest).status == "done" and len(judge.asked) == asked


def test_a_deleted_run_stays_in_the_result_by_its_title(
        owner_client: Client, runs: list[Run], judge: LongerWins, sent: Sent) -> None:
    contest = work(start(owner_client, runs))
    runs[0].delete()
    page = owner_client.get(f"/runs/compare/head-to-head/{contest.pk}/").content.decode()
    assert "short (deleted)" in page and "92%" in page


def test_eight_runs_take_no_more_queries_than_two(
        owner_client: Client, team: Team, owner: User, judge: LongerWins, sent: Sent) -> None:
    many = [evaluated(team, owner, str(number), [f"{number}" * (number + 1)] * 6) for number in range(8)]
    counts = []
    for several in (many[:2], many):
        contest = work(start(owner_client, several))
        for address in (f"{NEW}?" + "&".join(f"run={run.pk}" for run in several),
                        f"/runs/compare/head-to-head/{contest.pk}/"):
            with CaptureQueriesContext(connection) as queries:
                assert owner_client.get(address).status_code == 200
            counts.append(len(queries))
    assert counts[:2] == counts[2:]
