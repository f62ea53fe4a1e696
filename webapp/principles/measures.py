"""A team's measure as it is stored with a principle's version: its kinds, and how pages word it.

The settings are those of a recipe (`training.config.measure`), as JSON with their defaults left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from training.config.measure import Measure, MeasureSettings

LONGEST_DETAILS = 300
"""Characters of settings in a statement; longer ones are cut and keep a digest, so that no two are the same."""

TITLES = {
    "words": ("words", "how many words the response has"),
    "sentences": ("sentences", "how many sentences it has"),
    "reading_ease": ("reading ease", "how easily it reads, by Flesch: about 60 is plain English, 30 is for graduates"),
    "sentiment": ("sentiment", "its tone, by VADER: from −1, hostile, to 1, friendly; English only"),
    "profanity": ("profanity", "the share of its words that are swear words; English only"),
    "refusal": ("refusal", "1 if it begins by refusing to help, else 0; English only"),
    "distinct_ngrams": ("distinct n-grams", "the share of its word sequences that differ: 1 where nothing repeats"),
    "longest_repeat": ("longest repeat", "how many words its longest repeated passage has"),
    "json": ("valid JSON", "1 if the whole response is valid JSON, else 0"),
    "pattern": ("pattern", "1 if a regular expression matches it, else 0"),
    "phrases": ("phrases", "the share of the listed phrases that stand in it"),
    "similarity": ("similarity", "how like a given text it is, from 0 to 1"),
    "exact": ("exact answer", "1 if it is the answer, apart from case and white space, else 0"),
    "number": ("number", "1 if the last number in it is the right one, else 0"),
    "added": ("added", "a measure of an installed package"),
}
"""By kind, its name on pages and one sentence on what it counts."""

_SHARED = set(MeasureSettings.model_fields) | {"kind"}


def kinds() -> dict[str, type[MeasureSettings]]:
    """The settings of each kind, in the order of the recipe's own type."""
    members = get_args(get_args(Measure)[0])
    classes = [get_args(member)[0] for member in members]
    return {get_args(one.model_fields["kind"].annotation)[0]: one for one in classes}


def own_fields(kind: str) -> dict[str, FieldInfo]:
    """The settings of a kind that not every measure has."""
    return {name: info for name, info in kinds()[kind].model_fields.items() if name not in _SHARED}


def read_measure(settings: Any) -> Measure:
    """The measure that settings describe. Raises pydantic's ValidationError."""
    measure: Measure = TypeAdapter(Measure).validate_python(settings)
    return measure


def needs_reference(settings: Mapping[str, Any]) -> bool:
    """Whether a stored measure compares with the reference answer of each prompt."""
    return settings.get("answer_from") == "data"


def as_stored(measure: Measure) -> dict[str, Any]:
    """A measure as JSON, without the settings that are at their defaults."""
    return {"kind": measure.kind, **measure.model_dump(mode="json", exclude_defaults=True)}


def in_words(settings: Mapping[str, Any]) -> str:
    """'words, lower is better', for pages; "" for settings that are no measure (any more).

    >>> in_words({"kind": "distinct_ngrams", "n": 3, "softness": 0.2})
    'distinct n-grams (n: 3; softness: 0.2), higher is better'
    """
    try:
        measure = read_measure(settings)
    except ValidationError:
        return ""
    return f"{quantity_of(measure)}, {'higher' if measure.toward == 'high' else 'lower'} is better"


def quantity_of(measure: Measure) -> str:
    """What a measure's numbers are numbers of: 'words', or 'distinct n-grams (n: 3)'."""
    return f"{_name(measure)}{_details(measure)}"


def statement_of(measure: Measure) -> str:
    """The wording that labels of a measure are kept under: "Which response is lower in words?".

    Measures that differ have statements that differ, since labels find their version by its statement. Without settings
    of its own it is the wording of a recipe that names the measure alone (`PrincipleChoice.wording`).

    >>> statement_of(read_measure({"kind": "words", "toward": "low"}))
    'lower in words'
    """
    name = _name(measure) if measure.kind == "added" else measure.kind.replace("_", " ")
    return f"{'higher' if measure.toward == 'high' else 'lower'} in {name}{_details(measure)}"


def sentence_of(settings: Mapping[str, Any]) -> str:
    """What a measure counts, as one sentence: 'How many words the response has.'"""
    sentence = TITLES.get(str(settings.get("kind")), ("", ""))[1]
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""


def _name(measure: Measure) -> str:
    return measure.name if measure.kind == "added" else TITLES[measure.kind][0]


def _details(measure: Measure) -> str:
    """The settings that are not at their defaults, in parentheses."""
    settings = sorted(as_stored(measure).items(), key=lambda item: item[0] == "softness")  # what all have comes last
    parts = [f"{name.replace('_', ' ')}: {_text(value)}" for name, value in settings
             if name not in {"kind", "toward"} and not (measure.kind == "added" and name == "name")]
    text = "; ".join(parts)
    if len(text) > LONGEST_DETAILS:
        text = f"{text[:LONGEST_DETAILS]} … #{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f" ({text})" if text else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"“{item}”" for item in value)
    return f"“{value}”" if isinstance(value, str) else f"{value:g}"
