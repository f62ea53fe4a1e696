"""What labelling will cost, per principle, from the real prompts: before a run is started, and while it runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.webapp.judges.test_choosing_a_saved_judge import NEW, fields_of
from training.config import Recipe, shipped_recipe
from training.judges.estimate import Range
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetRow, DatasetText
from webapp.judges.estimating import costs_of, so_far
from webapp.judges.templatetags.judging import dollars, span_of_money, tokens
from webapp.runs.form.recipe_form import RecipeForm


def asking(**judge: Any) -> Recipe:
    recipe = shipped_recipe("demo")
    settings = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "price_in": 1.0, "price_out": 4.0}
    return recipe.model_copy(update={"judge": recipe.judge.model_copy(update=settings | judge)})


def of_pairs(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"sample": recipe.sample.model_copy(update={"pairs": "dataset"})})


def dataset_of(team: Team, letters: int, rows: int = 10) -> Dataset:
    """A dataset whose responses have this many letters each."""
    dataset = Dataset.objects.create(team=team, name=f"{letters} letters", status="ready", kind="pairs", rows_good=rows)
    for number in range(1, rows + 1):
        row = DatasetRow.objects.create(dataset=dataset, number=number)
        DatasetText.objects.create(row=row, prompt=[{"role": "user", "content": "Q?"}], chosen="a" * letters,
                                   rejected="b" * letters)
    return dataset


def test_rules_cost_nothing(team: Team) -> None:
    assert costs_of(team=team, recipe=shipped_recipe("demo"), dataset=None, to_label=["factuality"]) is None


def test_each_principle_is_asked_about_each_pair_in_both_orders(team: Team) -> None:
    recipe = asking(max_pairs=100)
    costs = costs_of(team=team, recipe=recipe, dataset=None, to_label=["factuality", "conciseness"])

    assert costs is not None
    assert [(line.title, line.estimate.calls) for line in costs.lines] == [
        ("factuality", 200), ("conciseness", 200),
        ("evaluation", recipe.evaluate.prompts * (1 + len(recipe.principles)) * 2)]


def test_longer_responses_cost_more(team: Team) -> None:
    short, long = (costs_of(team=team, recipe=of_pairs(asking()), dataset=dataset_of(team, letters), to_label=["bias"])
                   for letters in (10, 4010))

    assert short is not None
    assert long is not None
    calls = long.lines[-1].estimate.calls
    more = long.lines[-1].estimate.chars - short.lines[-1].estimate.chars
    assert more == pytest.approx(8000 * calls)  # two responses of 4,000 letters more in every question


def test_a_budget_that_will_not_do_is_named(team: Team) -> None:
    recipe = asking(max_pairs=100, budget_calls=50)
    costs = costs_of(team=team, recipe=recipe, dataset=None, to_label=["factuality"])

    assert costs is not None
    share = 50 / (200 + recipe.evaluate.prompts * (1 + len(recipe.principles)) * 2)
    assert costs.budget == f"The budget in calls will stop the run after about {share:.0%} of its calls."


def test_the_first_hundred_replies_put_the_estimate_right(team: Team) -> None:
    recipe = asking(max_pairs=500)
    costs = costs_of(team=team, recipe=recipe, dataset=None, to_label=["factuality"])
    assert costs is not None
    first = costs.lines[0].estimate

    assert so_far(first, calls=99, tokens_in=99_000, tokens_out=99, seconds=10, recipe=recipe) == first
    later = so_far(first, calls=500, tokens_in=500_000, tokens_out=500, seconds=50, recipe=recipe)
    assert later.money.likely == pytest.approx((1_000_000 * 1.0 + 1000 * 4.0) / 1e6, rel=0.01)
    assert later.seconds.likely == pytest.approx(100, rel=0.01)


def test_characters_that_were_counted_tell_a_long_beginning_from_dear_tokens(team: Team) -> None:
    recipe = asking(max_pairs=500)
    costs = costs_of(team=team, recipe=recipe, dataset=None, to_label=["factuality"])
    assert costs is not None
    first = costs.lines[0].estimate
    # The first hundred questions are twice as long as the mean, at four characters a token.
    chars = 2 * first.chars * 100 // first.calls

    later = so_far(first, calls=100, tokens_in=chars // 4, tokens_out=100, seconds=10, recipe=recipe, chars=chars)
    assert later.tokens_in.likely == pytest.approx(first.chars / 4, rel=0.01)


def test_the_run_form_shows_calls_tokens_price_and_time(team: Team, owner_client: Client) -> None:
    page = owner_client.post(f"{NEW}preview/", fields_of(RecipeForm.from_recipe(team, asking()))).content.decode()

    assert "What the judge will be asked" in page
    assert "$" in page


def test_without_a_price_there_is_no_money_to_show(team: Team, owner_client: Client) -> None:
    fields = fields_of(RecipeForm.from_recipe(team, asking(price_in=0.0, price_out=0.0)))

    assert "enter a price" in owner_client.post(f"{NEW}preview/", fields).content.decode()


def test_money_is_short_and_true() -> None:
    assert [dollars(amount) for amount in (None, 0, 0.0034, 12.345, 1234.5)] == [
        "", "$0.00", "$0.0034", "$12.35", "$1,234"]
    assert span_of_money(Range(1.0, 2.0, 3.0)) == "$2.00 ($1.00 to $3.00)"
    assert [tokens(count) for count in (12, 9876, 12_345_678)] == ["12", "9.9 k", "12.3 M"]
