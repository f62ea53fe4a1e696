"""A recipe that cannot be used says of each field what is wrong with it, in words, with the value that was given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from training.config import Recipe, check_recipe, field_errors
from training.errors import BadSettings

GOOD: dict[str, Any] = {"principles": [{"name": "toxicity"}]}


def errors_of(**sections: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(GOOD | sections)
    return dict(field_errors(caught.value))


@pytest.mark.parametrize("section, field, value, words", [
    ("ppo", "steps", 0, "must be at least 1 (given: 0)"),
    ("ppo", "learning_rate", 0, "must be above 0 (given: 0)"),
    ("ppo", "clip", 50, "must be at most 10 (given: 50)"),
    ("ppo", "learning_rate", float("nan"), "must be a number, and neither infinite nor NaN (given: nan)"),
    ("ppo", "batch_size", "many", "must be a whole number (given: 'many')"),
    ("ppo", "batch_size", 2.5, "must be a whole number (given: 2.5)"),
    ("ppo", "lerning_rate", 1, "is not a setting of a recipe; check its spelling, or remove it (given: 1)"),
    ("sft", "enabled", "maybe", "must be true or false (given: 'maybe')"),
    ("data", "source", "", "must not be empty"),
    ("data", "columns", 3, "must be a mapping, such as {prompt: question} (given: 3)"),
    ("judge", "api_key_env", "HOME", "must be OPENAI_API_KEY or a name like CONCORD_JUDGE_..._KEY (given: 'HOME')"),
])
def test_a_field_says_what_it_wants_and_what_it_got(section: str, field: str, value: Any, words: str) -> None:
    assert errors_of(**{section: {field: value}}) == {f"{section}.{field}": words}


def test_a_choice_lists_what_there_is() -> None:
    message = errors_of(scalarization={"function": "best"})["scalarization.function"]
    assert message.startswith("must be one of 'linear', 'worst_case'")
    assert message.endswith("(given: 'best')")


def test_a_principle_is_named_by_its_place() -> None:
    errors = errors_of(principles=[{"name": "toxicity"}, {"name": "Not A Name"}])
    assert errors == {"principles.1.name": "must be small letters, digits, hyphens and underscores, beginning with a "
                                          "letter or digit (given: 'Not A Name')"}
    assert errors_of(principles=[]) == {"principles": "needs at least 1 of them"}


def test_all_that_is_wrong_is_said_at_once_and_with_a_way_out() -> None:
    with pytest.raises(BadSettings) as caught:
        check_recipe(GOOD | {"ppo": {"steps": 0, "gamma": 2}})
    assert "ppo.steps: must be at least 1 (given: 0); ppo.gamma: must be at most 1 (given: 2)" in caught.value.cause
    assert caught.value.remedy == "Change these fields and try again."


def test_what_is_no_section_at_all_is_said_plainly() -> None:
    assert errors_of(ppo=7) == {"ppo": "must be a mapping of settings (given: 7)"}
