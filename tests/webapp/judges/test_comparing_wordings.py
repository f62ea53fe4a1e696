"""Two wordings or two judges on the same pairs: agreement, flips, cost, what differs; nothing is bought twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.judge_server import JudgeServer, judge_server
from tests.webapp.judges.conftest import KEY
from training.judges import judge as engine
from training.run.pipeline import pair_digest
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, DatasetRow, DatasetText
from webapp.judges import comparisons
from webapp.judges.models import Comparison, ComparisonAnswer, Connection
from webapp.judges.services import connection_create
from webapp.labels.models import Label, Pair, PairText
from webapp.principles.models import Principle, PrincipleVersion

Sent = list[tuple[str, tuple[object, ...], str]]


@pytest.fixture
def principle(team: Team) -> Principle:
    return Principle.objects.get(team=team, name="conciseness")


@pytest.fixture
def pairs(team: Team) -> list[Pair]:
    made = []
    for number in range(4):
        pair = Pair.objects.create(team=team, digest=f"{number:032d}", excerpt=f"Question {number}?")
        PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": f"Question {number}?"}],
                                response_a="Yes.", response_b="Well, that depends on very many things.")
        made.append(pair)
    return made


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture
def saved(team: Team, owner: User, server: JudgeServer) -> Connection:
    return connection_create(team=team, user=owner, key=KEY, name="Local", kind="server", model="rule",
                             base_url=server.base_url, price_in=1.0, price_out=2.0)


@pytest.fixture
def start(owner_client: Client, principle: Principle, sent: Sent,
          django_capture_on_commit_callbacks: Any) -> Callable[..., Any]:
    def send(**fields: str) -> Any:
        form = {"statement_a": "more concise", "statement_b": "fuller and richer", "pairs": "100"} | fields
        with django_capture_on_commit_callbacks(execute=True):
            return owner_client.post(reverse("judges:principle_compare", args=[principle.pk]), form)

    return send


def test_two_wordings_are_asked_about_the_same_pairs(
        start: Any, saved: Connection, pairs: list[Pair], sent: Sent, owner_client: Client) -> None:
    answer = start(judge=str(saved.pk))
    comparison = Comparison.objects.get()
    assert answer.headers["Location"] == reverse("judges:comparison_detail", args=[comparison.pk])
    assert sent == [("workers.compare_wordings", (comparison.pk,), "jobs")]

    comparisons.comparison_run(comparison_id=comparison.pk)
    page = owner_client.get(answer.headers["Location"]).content.decode()
    result = comparisons.result_of(Comparison.objects.get())
    assert (result.pairs, result.a.usable, result.b.usable) == (4, 4, 4)
    assert result.agreement.raw == 0, "the shorter one is more concise, the other fuller"
    assert len(result.differing) == 4
    assert result.a.tokens == 4 * 202
    assert result.a.money == pytest.approx(((808 - 8) * 1.0 + 8 * 2.0) / 1e6)
    assert "Pairs that differ" in page
    assert (result.a.title, result.b.title) == ("Old wording", "New wording")
    assert page.count('data-title="Old wording"') == page.count('data-title="New wording"') == 4
    assert KEY not in page


def test_two_judges_are_asked_by_one_wording(
        start: Any, saved: Connection, pairs: list[Pair], team: Team, owner: User, server: JudgeServer,
        owner_client: Client) -> None:
    other = connection_create(team=team, user=owner, key=KEY, name="Cheap", kind="server", model="small",
                              base_url=server.base_url, price_in=0.5, price_out=0.5)
    answer = start(judge=str(saved.pk), judge_b=str(other.pk), statement_b="more concise")
    comparisons.comparison_run(comparison_id=Comparison.objects.get().pk)

    result = comparisons.result_of(Comparison.objects.get())
    assert (result.a.title, result.b.title) == ("Local", "Cheap")
    assert (result.a.usable, result.b.usable, result.agreement.raw) == (4, 4, 1), "the server answers both by one rule"
    assert set(server.questions.values()) == {2}, "each question twice, once for each judge"
    assert result.a.money == pytest.approx((800 * 1.0 + 8 * 2.0) / 1e6)
    assert result.b.money == pytest.approx(808 * 0.5 / 1e6)
    page = owner_client.get(answer.headers["Location"]).content.decode()
    assert "Two judges on" in page
    assert "New wording" not in page and "Adopt" not in page


def test_wording_and_judge_are_not_changed_at_once(start: Any, saved: Connection, pairs: list[Pair]) -> None:
    errors = start(judge=str(saved.pk), judge_b="rule").context["form"].errors

    assert "not both" in str(errors["judge_b"])
    assert not Comparison.objects.exists()


def test_a_judge_is_not_compared_with_itself(start: Any, pairs: list[Pair]) -> None:
    errors = start(judge="rule", judge_b="rule", statement_b="more concise").context["form"].errors

    assert "choose another judge" in str(errors["statement_b"])


def test_what_was_answered_is_not_asked_again(
        start: Any, saved: Connection, pairs: list[Pair], server: JudgeServer, owner_client: Client) -> None:
    start(judge=str(saved.pk))
    comparison = Comparison.objects.get()
    comparisons.comparison_run(comparison_id=comparison.pk)
    asked = sum(server.questions.values())

    comparisons.comparison_run(comparison_id=comparison.pk)  # the task came twice
    assert sum(server.questions.values()) == asked == 16


def test_labels_that_were_bought_before_are_taken_as_they_are(
        start: Any, saved: Connection, pairs: list[Pair], principle: Principle, team: Team,
        server: JudgeServer) -> None:
    version = PrincipleVersion.objects.create(principle=principle, number=9, statement="more concise")
    for pair in pairs:
        Label.objects.create(team=team, pair=pair, principle_version=version, judge=engine.judge_name(saved.settings()),
                             prompt_version="1", probability=0.9, p_shown=0.9, p_swapped=0.9)
    start(judge=str(saved.pk))

    comparisons.comparison_run(comparison_id=Comparison.objects.get().pk)
    result = comparisons.result_of(Comparison.objects.get())
    assert sum(server.questions.values()) == 8, "the other wording only"
    assert (result.a.usable, result.a.tokens) == (4, 0)


def test_a_judge_that_is_gone_fails_it_with_the_reason_and_it_can_be_sent_again(
        start: Any, saved: Connection, pairs: list[Pair], owner_client: Client, sent: Sent,
        django_capture_on_commit_callbacks: Any) -> None:
    start(judge=str(saved.pk))
    comparison = Comparison.objects.get()
    saved.delete()

    comparisons.comparison_run(comparison_id=comparison.pk)
    address = reverse("judges:comparison_detail", args=[comparison.pk])
    assert "does not exist" in owner_client.get(address).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(reverse("judges:comparison_again", args=[comparison.pk]))
    assert Comparison.objects.get().status == "queued"
    assert len(sent) == 2


def test_one_that_is_under_way_is_not_sent_twice(start: Any, pairs: list[Pair], sent: Sent) -> None:
    start(judge="rule")

    assert not comparisons.comparison_again(comparison=Comparison.objects.get())


def test_one_that_was_lost_with_its_worker_is_sent_again(start: Any, pairs: list[Pair]) -> None:
    start(judge="rule")
    comparison = Comparison.objects.get()
    Comparison.objects.update(status="running", seen_at=comparison.seen_at - timedelta(minutes=3))

    assert comparisons.comparison_again(comparison=comparison)


def test_a_failed_answer_is_counted_and_compared_nowhere(
        start: Any, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    class Sulking:
        async def compare(self, items: Sequence[engine.PairQuestion], *_: object) -> list[engine.Verdict]:
            return [engine.error_verdict("refused: no") for _ in items]

    monkeypatch.setattr(comparisons, "make_judge", lambda *_: Sulking())
    start(judge="rule")
    comparisons.comparison_run(comparison_id=Comparison.objects.get().pk)

    result = comparisons.result_of(Comparison.objects.get())
    assert (result.a.answered, result.a.usable, result.agreement.n) == (4, 0, 0)


@pytest.mark.parametrize(("fields", "field"), [
    ({"statement_b": "more concise"}, "statement_b"), ({"statement_a": ""}, "statement_a"), ({"pairs": "1"}, "pairs"),
    ({"judge": "999"}, "judge"),
])
def test_what_is_wrong_is_said_at_its_field(
        fields: dict[str, str], field: str, start: Any, pairs: list[Pair]) -> None:
    assert field in start(**{"judge": "rule"} | fields).context["form"].errors


def test_without_pairs_there_is_nothing_to_compare(start: Any) -> None:
    assert "There are no pairs yet" in start(judge="rule").content.decode()


def test_the_page_renews_itself_until_all_is_answered(
        start: Any, saved: Connection, pairs: list[Pair], owner_client: Client) -> None:
    start(judge=str(saved.pk))
    comparison = Comparison.objects.get()
    address = reverse("judges:comparison_state", args=[comparison.pk])
    assert "every 1s" in owner_client.get(address).content.decode()

    comparisons.comparison_run(comparison_id=comparison.pk)
    assert "every 1s" not in owner_client.get(address).content.decode()
    assert ComparisonAnswer.objects.filter(probability=None).count() == 0


def test_an_imported_dataset_can_be_chosen_before_any_run(start: Any, team: Team, owner: User) -> None:
    dataset = Dataset.objects.create(team=team, name="harmless", kind="pairs", status="ready", rows_good=6)
    for number in range(1, 7):
        row = DatasetRow.objects.create(dataset=dataset, number=number)
        DatasetText.objects.create(row=row, prompt=[{"role": "user", "content": f"What is {number}?"}],
                                   chosen=f"It is {number}.", rejected="No idea.")
    start(judge="rule", dataset=str(dataset.pk), pairs="4")

    comparison = Comparison.objects.get()
    made = Pair.objects.of(team).filter(dataset=dataset)
    assert comparison.answers.count() == 8 and made.count() == 5, "one prompt is left for evaluation, as in a run"
    pair = made.filter(pk__in=comparison.answers.values("pair")).first()
    assert pair is not None and pair.digest == pair_digest(
        pair.text.prompt, pair.text.response_a, pair.text.response_b)
    assert pair.human == (1.0 if pair.text.response_a.startswith("It is") else 0.0)

    start(judge="rule", dataset=str(dataset.pk), pairs="4")
    assert Pair.objects.of(team).count() == 5, "nothing is recorded twice"


def test_a_dataset_of_prompts_is_not_offered(owner_client: Client, team: Team, principle: Principle) -> None:
    Dataset.objects.create(team=team, name="only prompts", kind="prompts", status="ready", rows_good=6)
    Dataset.objects.create(team=team, name="half imported", kind="pairs", status="importing", rows_good=6)
    page = owner_client.get(reverse("judges:principle_compare", args=[principle.pk])).content.decode()
    assert "only prompts" not in page and "half imported" not in page


def test_the_new_wording_is_adopted_as_a_version(
        start: Any, pairs: list[Pair], principle: Principle, owner_client: Client, owner: User) -> None:
    start(judge="rule")
    comparison = Comparison.objects.get()
    comparisons.comparison_run(comparison_id=comparison.pk)
    address = reverse("judges:comparison_detail", args=[comparison.pk])
    assert "Adopt the new wording" in owner_client.get(address).content.decode()

    answer = owner_client.post(f"{address}adopt/", follow=True)
    latest = principle.versions.first()
    assert latest and (latest.number, latest.statement, latest.created_by) == (2, "fuller and richer", owner)
    assert "The new wording is version 2 of conciseness." in answer.content.decode()
    assert "Adopt the new wording" not in owner_client.get(address).content.decode()
    owner_client.post(f"{address}adopt/")
    assert principle.versions.count() == 2


def test_a_stranger_adopts_nothing(
        start: Any, pairs: list[Pair], principle: Principle, stranger_client: Client) -> None:
    start(judge="rule")
    address = reverse("judges:comparison_adopt", args=[Comparison.objects.get().pk])
    assert stranger_client.post(address).status_code == 404
    assert principle.versions.count() == 1
