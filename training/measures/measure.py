"""The function that a measure's settings ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from training.config.measure import (
    Added,
    DistinctNgrams,
    Exact,
    LongestRepeat,
    Measure,
    Number,
    Pattern,
    Phrases,
    Profanity,
    ReadingEase,
    Refusal,
    Sentences,
    Sentiment,
    Similarity,
    ValidJson,
    Words,
)
from training.dialogue import Dialogue, last_user_message
from training.errors import MeasureFailed
from training.measures import added, form, reference, repetition, tone, words
from training.measures.reference import beginning

MeasureFunction = Callable[[Dialogue, str], float]
"""A number for a response to a prompt: finite, and the same whenever it is asked."""

ReferenceOf = Callable[[Dialogue], str | None]
"""The reference answer that the data has for a prompt; None where it has none."""

VERSION = 1
"""Raise it when a measure counts otherwise than before: it is part of the identity of every stage that measures."""


def no_reference(prompt: Dialogue) -> None:
    """The ReferenceOf of prompts that come from no data, such as those that a person types."""


def make_measure(settings: Measure, reference_of: ReferenceOf = no_reference) -> MeasureFunction:
    """The measure that the settings ask for, as a function of (prompt, response).

    The function raises MeasureFailed where there is no number for a response, also where the settings compare with the
    reference answer of the prompt and there is none.

    Args:
        reference_of: asked only where `settings.needs_reference`.

    Raises:
        BadSettings: an added measure is not installed or cannot be imported.
    """
    if isinstance(settings, Added):
        return partial(_checked, settings.name, added.load(settings.name))
    if settings.needs_reference:
        to_reference = _to_reference(settings)
        return lambda prompt, response: to_reference(response, _reference(reference_of, prompt))
    of_text = _of_text(settings)
    return lambda prompt, response: of_text(response)


def _reference(reference_of: ReferenceOf, prompt: Dialogue) -> str:
    text = reference_of(prompt)
    if text is None:
        asked = last_user_message(prompt)
        raise MeasureFailed(f"The data has no reference answer for the prompt '{beginning(asked)}'.",
                            "Add one to its row, or leave the row out.")
    return text


def _to_reference(settings: Measure) -> Callable[[str, str], float]:
    """The measures that compare a response with the reference answer of its prompt, as (response, reference)."""
    match settings:
        case Similarity(by=by):
            return lambda text, answer: reference.similarity(text, answer, by)
        case Exact():
            return reference.exact
        case Number(tolerance=tolerance):
            return lambda text, answer: reference.number(text, reference.number_in(answer), tolerance)
    raise AssertionError(f"'{settings.kind}' compares with no reference")


def _of_text(settings: Measure) -> Callable[[str], float]:
    """The measures of ours look at the response alone."""
    match settings:
        case Words():
            return words.words
        case Sentences():
            return words.sentences
        case ReadingEase():
            return words.reading_ease
        case Sentiment():
            return tone.sentiment
        case Profanity():
            return tone.profanity
        case Refusal():
            return tone.refusal
        case DistinctNgrams(n=n):
            return lambda text: repetition.distinct_ngrams(text, n)
        case LongestRepeat():
            return repetition.longest_repeat
        case ValidJson(top=top):
            return lambda text: form.valid_json(text, top)
        case Pattern(pattern=pattern, whole=whole, ignore_case=ignore_case):
            return lambda text: form.matches(text, pattern, whole, ignore_case)
        case Phrases(phrases=phrases):
            return lambda text: form.phrases_found(text, phrases)
        case Similarity(reference=str(text_to_match), by=by):
            return lambda text: reference.similarity(text, text_to_match, by)
        case Exact(answer=str(answer)):
            return lambda text: reference.exact(text, answer)
        case Number(answer=float(value), tolerance=tolerance):
            return lambda text: reference.number(text, value, tolerance)
    raise AssertionError(f"'{settings.kind}' has no function here")


def _checked(name: str, function: MeasureFunction, prompt: Dialogue, response: str) -> float:
    """The number of an added measure. Raises MeasureFailed where it raises anything, or returns no finite number."""
    remedy = "Correct the measure, so that it returns a finite number for every text."
    try:
        value = float(function(prompt, response))
    except Exception as error:  # another team's code: whatever it raises is about this response
        raise MeasureFailed(f"The measure '{name}' failed: {error!r}.", remedy) from error
    if not math.isfinite(value):
        raise MeasureFailed(f"The measure '{name}' returned {value}.", remedy)
    return value


def version_of(settings: Measure) -> str:
    """What stands for a measure's code in identities: VERSION; for an added one, its package with its version too.

    An added measure that is not installed has no version: it is refused before anything runs.
    """
    if not isinstance(settings, Added):
        return f"{VERSION}"
    point = added.added_measures().get(settings.name)
    package = f"{point.dist.name} {point.dist.version}" if point is not None and point.dist is not None else "unknown"
    return f"{VERSION}, {package}"
