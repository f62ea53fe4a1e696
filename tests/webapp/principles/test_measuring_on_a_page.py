"""A measured principle is tried on two responses and over a dataset: numbers by hand, bounds, other teams."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from training.errors import MeasureFailed
from training.quality.intervals import wilson_interval
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, DatasetRow, DatasetText
from webapp.principles import patience, trying
from webapp.principles.models import Principle
from webapp.principles.patience import MeasuresBusy, measure_within
from webapp.principles.services import principle_create
from webapp.runs.principle_page import measured_dataset
from webapp.runs.principle_page.histogram import histogram_of

PROMPT = [{"role": "user", "content": "Why?"}]


@pytest.fixture
def brevity(team: Team, owner: User) -> Principle:
    return measured(team, owner, {"kind": "words", "toward": "low"})


def measured(team: Team, user: User, measure: dict[str, Any], name: str = "brevity") -> Principle:
    return principle_create(team=team, user=user, name=name, statement=name, polarity="virtue", measure=measure)


def dataset(team: Team, rows: list[tuple[str, str, bool]], kind: str = "pairs", **columns: Any) -> Dataset:
    """A dataset with (chosen, rejected, undecided) rows."""
    made = Dataset.objects.create(team=team, name="Answers", kind=kind, status="ready", rows_good=len(rows), **columns)
    for number, (chosen, rejected, undecided) in enumerate(rows, start=1):
        row = DatasetRow.objects.create(dataset=made, number=number)
        DatasetText.objects.create(row=row, prompt=PROMPT, chosen=chosen, rejected=rejected, undecided=undecided)
    return made


def words(count: int) -> str:
    return " ".join(["word"] * count)


def attempt(client: Client, principle: Principle, **fields: str) -> Any:
    return client.post(reverse("principles:try", args=[principle.pk]), {"prompt": "", "a": "", "b": ""} | fields)


# Two responses --------------------------------------------------------------------------------------------------------


def test_both_responses_are_measured_at_once(owner_client: Client, brevity: Principle) -> None:
    answer = attempt(owner_client, brevity, a="one two three four", b="one two")
    trial = answer.context["trial"]
    assert (trial.a, trial.b, trial.preference) == (4.0, 2.0, 0.0)
    assert "B is preferred" in answer.content.decode() and "Versions" in answer.content.decode()


def test_htmx_gets_the_form_alone(owner_client: Client, brevity: Principle) -> None:
    address = reverse("principles:try", args=[brevity.pk])
    answer = owner_client.post(address, {"a": "same", "b": "same"}, headers={"HX-Request": "true"})
    assert "both measure the same" in answer.content.decode() and "<html" not in answer.content.decode()


def test_softness_makes_a_probability(owner_client: Client, team: Team, owner: User) -> None:
    soft = measured(team, owner, {"kind": "words", "softness": 2.0}, "length")
    trial = attempt(owner_client, soft, a=words(5), b=words(3)).context["trial"]
    assert trial.preference == pytest.approx(0.7311, abs=1e-4)  # 1 / (1 + exp(-1))


def test_texts_are_bounded(owner_client: Client, brevity: Principle) -> None:
    answer = attempt(owner_client, brevity, a="x" * 20_001, b="x")
    assert "at most 20000 characters" in answer.content.decode() and "trial" not in answer.context


def test_a_response_without_a_number_says_why(
    owner_client: Client, brevity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(prompt: Any, response: str) -> float:
        if response == "a":
            raise MeasureFailed("It is too short.", "Write more.")
        return 1.0

    monkeypatch.setattr(trying, "make_measure", lambda settings, reference_of: fails)
    page = attempt(owner_client, brevity, a="a", b="long").content.decode()
    assert "Response A has no number: It is too short. Write more." in page and "is preferred" not in page


@pytest.mark.parametrize(("measure", "words_of_the_page"), [
    ({"kind": "added", "name": "absent"}, "is not installed on this machine"),
    ({"kind": "of tomorrow"}, "does not know the measure")])
def test_a_measure_that_is_not_there_says_what_to_do(
    owner_client: Client, team: Team, owner: User, measure: dict[str, Any], words_of_the_page: str,
) -> None:
    lost = measured(team, owner, measure, "lost")
    assert words_of_the_page in attempt(owner_client, lost, a="a", b="b").content.decode()
    made = dataset(team, [("a", "b", False)])
    page = owner_client.get(reverse("principles:detail", args=[lost.pk]), {"dataset": made.pk})
    assert words_of_the_page in page.content.decode()


def test_a_measure_by_reference_answers_asks_for_one(owner_client: Client, team: Team, owner: User) -> None:
    correct = measured(team, owner, {"kind": "number", "answer_from": "data"}, "correct")
    page = attempt(owner_client, correct, prompt="What is 2 + 3?", a="It is 5.", b="6")
    assert page.context["form"].errors["reference"] and "trial" not in page.context
    page = attempt(owner_client, correct, prompt="What is 2 + 3?", reference="#### 5", a="It is 5.", b="6")
    trial = page.context["trial"]
    assert (trial.a, trial.b, trial.preference) == (1.0, 0.0, 1.0)


# Over a dataset ------------------------------------------------------------------------------------------------------


def over(client: Client, principle: Principle, chosen: Dataset) -> Any:
    return client.get(reverse("principles:detail", args=[principle.pk]), {"dataset": chosen.pk})


def test_each_row_is_measured_by_its_own_reference_answer(owner_client: Client, team: Team, owner: User) -> None:
    correct = measured(team, owner, {"kind": "exact", "answer_from": "data"}, "correct")
    made = dataset(team, [("5", "6", False), ("7", "8", False), ("9", "10", False)])
    for number, reference in ((1, "5"), (2, "8")):
        text = DatasetText.objects.get(row__dataset=made, row__number=number)
        text.prompt, text.reference = [{"role": "user", "content": f"{number}?"}], reference
        text.save()

    result = over(owner_client, correct, made).context["over"]

    assert (result.n, result.failed, result.mean) == (4, 2, 0.5)
    assert (result.pairs.decided, result.pairs.agreed) == (2, 1)
    assert "has no reference answer for the prompt 'Why?'" in result.why_failed


def test_pairs_are_measured_and_compared_with_what_people_chose(
    owner_client: Client, team: Team, brevity: Principle,
) -> None:
    made = dataset(team, [
        (words(1), words(3), False),  # people and the measure choose the first
        (words(2), words(4), False),
        (words(4), words(1), False),  # people chose the longer one
        (words(2), words(2), False),  # the measure does not decide
        (words(1), words(2), True),  # nobody chose
    ])

    answer = over(owner_client, brevity, made)

    result = answer.context["over"]
    assert (result.n, result.failed, result.is_cut, result.is_sample) == (10, 0, False, False)
    assert result.mean == pytest.approx(2.2)  # 22 words in 10 responses
    assert result.std == pytest.approx(1.0770, abs=1e-4)  # the squares: 60 / 10 - 2.2 ** 2 = 1.16
    assert [(bar.low, bar.count) for bar in result.histogram.bars] == [(1, 3), (2, 4), (3, 1), (4, 2)]
    pairs = result.pairs
    assert (pairs.measured, pairs.decided, pairs.compared, pairs.agreed) == (5, 4, 3, 2)
    assert pairs.interval == wilson_interval(2, 3)
    page = answer.content.decode()
    assert "<title>2: 4</title>" in page and "67%" in page and "95% interval 21% to 94%" in page
    assert "80%" in page and "All rows of the dataset." in page


def test_responses_without_pairs_have_a_histogram_alone(owner_client: Client, team: Team, brevity: Principle) -> None:
    made = dataset(team, [(words(3), "", False), (words(3), "", False)], kind="dialogues")
    answer = over(owner_client, brevity, made)
    result = answer.context["over"]
    assert (result.n, result.pairs, result.std) == (2, None, 0.0)
    assert "this measure has no scale here" in answer.content.decode()


def test_two_thousand_responses_are_sampled_the_same_each_time(team: Team) -> None:
    made = Dataset.objects.create(team=team, name="Many", kind="dialogues", status="ready", rows_good=12_000)
    DatasetRow.objects.bulk_create(DatasetRow(dataset=made, number=number) for number in range(1, 12_001))

    keys = measured_dataset.sampled_rows(made, 2_000)

    numbers = dict(DatasetRow.objects.filter(dataset=made).values_list("pk", "number"))
    sampled_numbers = [numbers[key] for key in keys]
    assert len(set(sampled_numbers)) == 2_000 and keys == measured_dataset.sampled_rows(made, 2_000)
    tenths = [sum(low < number <= low + 1_200 for number in sampled_numbers) for low in range(0, 12_000, 1_200)]
    assert min(tenths) > 150 and max(tenths) < 250, "spread over the whole dataset"
    early = [sum(low < number <= low + 6_000 for number in sampled_numbers[:200]) for low in (0, 6_000)]
    assert min(early) > 70, "and so is any beginning of it"


def test_the_sample_is_said_to_be_one(
    owner_client: Client, team: Team, brevity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured_dataset, "MOST_RESPONSES", 4)
    made = dataset(team, [(words(1), words(2), False)] * 5)
    assert "A sample of 2 of 5 rows" in over(owner_client, brevity, made).content.decode()


def test_a_slow_measure_is_cut_and_says_so(
    owner_client: Client, team: Team, brevity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fourth response never ends while the page waits."""
    end, calls = threading.Event(), iter(range(10))

    def slow(prompt: Any, response: str) -> float:
        if next(calls) == 3:
            end.wait(20)
        return 1.0

    monkeypatch.setattr(measured_dataset, "make_measure", lambda settings: slow)
    monkeypatch.setattr(measured_dataset, "MEASURE_SECONDS", 0.2)
    made = dataset(team, [(words(1), words(2), False)] * 4)
    answer = over(owner_client, brevity, made)
    end.set()
    result = answer.context["over"]
    assert (result.n, result.is_cut, result.pairs.measured) == (3, True, 1)
    assert "Of a sample of 4 rows" in answer.content.decode()


def test_threads_that_nobody_waits_for_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_AT_ONCE", threading.BoundedSemaphore(1))
    end = threading.Event()
    asked = [(PROMPT, "a")]
    assert measure_within(lambda prompt, response: float(end.wait(20)), asked, 0.01) == []  # type: ignore[arg-type]
    with pytest.raises(MeasuresBusy):
        measure_within(lambda prompt, response: 1.0, asked, 0.01)  # type: ignore[arg-type]
    end.set()
    assert measure_within(lambda prompt, response: 1.0, asked, 5) == [1.0]  # type: ignore[arg-type]


def test_failures_are_counted(
    owner_client: Client, team: Team, brevity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(prompt: Any, response: str) -> float:
        if response == "b":
            raise MeasureFailed("No vowel.", "Write one.")
        return 7.0

    monkeypatch.setattr(measured_dataset, "make_measure", lambda settings: fails)
    answer = over(owner_client, brevity, dataset(team, [("a", "b", False), ("a", "a", False)]))
    result = answer.context["over"]
    assert (result.n, result.failed, result.pairs.measured) == (3, 1, 1)
    assert "1 response without a number. The first: No vowel." in answer.content.decode()


def test_as_many_queries_for_more_rows(owner_client: Client, team: Team, brevity: Principle) -> None:
    few, many = (dataset(team, [(words(1), words(2), False)] * count) for count in (1, 200))
    over(owner_client, brevity, few)
    with CaptureQueriesContext(connection) as first:
        over(owner_client, brevity, few)
    with CaptureQueriesContext(connection) as second:
        over(owner_client, brevity, many)
    assert len(first) == len(second)


def test_other_teams_and_datasets_without_responses_are_not_found(
    owner_client: Client, stranger_client: Client, team: Team, other_team: Team, brevity: Principle,
) -> None:
    theirs = dataset(other_team, [("a", "b", False)])
    ours = dataset(team, [("a", "b", False)])
    prompts = dataset(team, [], kind="prompts")
    assert over(owner_client, brevity, theirs).status_code == 404
    assert over(owner_client, brevity, prompts).status_code == 404
    assert over(stranger_client, brevity, ours).status_code == 404
    assert attempt(stranger_client, brevity, a="a", b="b").status_code == 404
    offered = over(owner_client, brevity, ours).context["datasets"]
    assert [chosen.pk for chosen in offered] == [ours.pk]


# The picture ----------------------------------------------------------------------------------------------------------


def test_a_histogram_by_hand() -> None:
    bars = histogram_of([0.0, 0.0, 2.0]).bars  # whole numbers close together: one bar each
    assert [(bar.low, bar.count, bar.x, bar.width, bar.height) for bar in bars] == [
        (0, 2, 2.667, 28.0, 96.0), (1, 0, 36.0, 28.0, 0.0), (2, 1, 69.333, 28.0, 48.0)]


def test_a_histogram_of_fractions_has_equal_intervals() -> None:
    picture = histogram_of([0.0, 0.5, 1.0, 1.0])
    counts = [bar.count for bar in picture.bars]
    assert len(counts) == 24 and (counts[0], counts[12], counts[23]) == (1, 1, 2) and sum(counts) == 4
    assert not picture.bars[0].is_one_value and picture.bars[12].low == 0.5


@pytest.mark.parametrize("numbers", [[3.0], [0.3, 0.3], [-5.0, 1e300], [1e-320, 2e-320], [-1e308, 1e308]])
def test_any_numbers_can_be_drawn(numbers: list[float]) -> None:
    bars = histogram_of(numbers).bars
    assert sum(bar.count for bar in bars) == len(numbers)
    assert all(math.isfinite(bar.low) and math.isfinite(bar.high) for bar in bars)
