"""Settings of measures: what a program can say of a response as a number, which of its ends is the better. Torch-free.

Each kind is a class here and a function in `training.measures`. Texts are bounded; nothing in them is ever executed: a
measure that a team adds is installed as a package, and named here. Left out: the language of a text, its grammar.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import regex
from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from training.config.section import Section, is_none

LONGEST_PATTERN = 500  # characters of a regular expression
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]


class MeasureSettings(Section):
    """What all measures have."""

    toward: Literal["high", "low"] = Field("high", description="Which end of the measure is the better.")
    softness: float = Field(0.0, ge=0, le=1e6, description=(
        "0: the better response wins, and equal ones tie. Above 0: P(A is better) = 1 / (1 + exp(-d / softness)), "
        "where d is the difference of the measure; give it about the difference that is worth noticing."))

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with the reference answer that the data has for the prompt."""
        return False


def _is_recipe(answer_from: str) -> bool:
    return answer_from == "recipe"


class ComparingSettings(MeasureSettings):
    """What measures have that compare a response with an answer: one for all prompts, or that of each prompt."""

    answer_setting: ClassVar[str] = "answer"

    answer_from: Literal["recipe", "data"] = Field("recipe", exclude_if=_is_recipe, description=(
        "Where the answer comes from: 'recipe', the same for every prompt, or 'data', the reference answer that the "
        "dataset has for each prompt."))

    @model_validator(mode="after")
    def _has_one_answer(self) -> Self:
        name = self.answer_setting
        is_given = getattr(self, name) is not None
        if self.answer_from == "recipe" and not is_given:
            raise ValueError(f"needs '{name}', one for all prompts, or 'answer_from: data' for the reference answer "
                             "of each prompt")
        if self.answer_from == "data" and is_given:
            raise ValueError(f"has 'answer_from: data' and '{name}' too; remove one of them")
        return self

    @property
    def needs_reference(self) -> bool:
        return self.answer_from == "data"


class Words(MeasureSettings):
    kind: Literal["words"]


class Sentences(MeasureSettings):
    kind: Literal["sentences"]


class ReadingEase(MeasureSettings):
    kind: Literal["reading_ease"]


class Sentiment(MeasureSettings):
    kind: Literal["sentiment"]


class Profanity(MeasureSettings):
    kind: Literal["profanity"]


class DistinctNgrams(MeasureSettings):
    kind: Literal["distinct_ngrams"]
    n: int = Field(2, ge=1, le=8, description="Words in a sequence.")


class LongestRepeat(MeasureSettings):
    kind: Literal["longest_repeat"]


class ValidJson(MeasureSettings):
    kind: Literal["json"]
    top: Literal["any", "object", "list"] = Field("any", description="What the JSON text must be as a whole.")


class Pattern(MeasureSettings):
    kind: Literal["pattern"]
    pattern: str = Field(min_length=1, max_length=LONGEST_PATTERN, description=(
        "A regular expression, in the syntax of the package regex."))
    whole: bool = Field(False, description="The whole response must match, not a part of it.")
    ignore_case: bool = Field(False, description="Capital and small letters are the same.")

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is no regular expression ({error}); correct it, or use the measure 'phrases' for "
                             "plain words") from error
        return pattern


class Phrases(MeasureSettings):
    kind: Literal["phrases"]
    phrases: tuple[Phrase, ...] = Field(min_length=1, max_length=100, description=(
        "Words or phrases to look for; case and white space do not matter."))


class Similarity(ComparingSettings):
    answer_setting = "reference"

    kind: Literal["similarity"]
    reference: Annotated[str, StringConstraints(pattern=r"\S", min_length=1, max_length=10_000)] | None = Field(
        None, exclude_if=is_none, description="The text to compare the response with.")
    by: Literal["characters", "words"] = Field("characters", description=(
        "Compare the texts as they stand, or their words in alphabetical order."))


class Exact(ComparingSettings):
    kind: Literal["exact"]
    answer: Phrase | None = Field(None, exclude_if=is_none, description=(
        "The answer; case, white space and a final period do not matter."))


class Number(ComparingSettings):
    kind: Literal["number"]
    answer: float | None = Field(None, ge=-1e300, le=1e300, exclude_if=is_none, description=(
        "The number that the response must end with."))
    tolerance: float = Field(0.0, ge=0, le=1e300, description="How far from it still counts.")


class Refusal(MeasureSettings):
    kind: Literal["refusal"]


class Added(MeasureSettings):
    kind: Literal["added"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] = Field(description=(
        "The name of a measure of your own: an entry point of the group concord.measures in an installed package."))


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


Measure = Annotated[
    Annotated[Words, Tag("words")] | Annotated[Sentences, Tag("sentences")]
    | Annotated[ReadingEase, Tag("reading_ease")] | Annotated[Sentiment, Tag("sentiment")]
    | Annotated[Profanity, Tag("profanity")] | Annotated[Refusal, Tag("refusal")]
    | Annotated[DistinctNgrams, Tag("distinct_ngrams")] | Annotated[LongestRepeat, Tag("longest_repeat")]
    | Annotated[ValidJson, Tag("json")] | Annotated[Pattern, Tag("pattern")] | Annotated[Phrases, Tag("phrases")]
    | Annotated[Similarity, Tag("similarity")] | Annotated[Exact, Tag("exact")] | Annotated[Number, Tag("number")]
    | Annotated[Added, Tag("added")],
    Discriminator(_kind)]
"""The settings of one measure; `kind` says which. (A discriminator by name does not go with a Section's validator.)"""
