"""The events of a report stream: a type for each kind, shared by the stage that writes it and by all who read it.

A line of `events.jsonl` is one event as a JSON object. `seq` counts the lines (1, 2, 3 ...), `time` is in unix seconds,
`v` is the version of the stream's language that its writer spoke, and `kind` says which type it is. What stands in a
type is all there is: the checks of a line are made from it, so a field is added, renamed or bounded here and nowhere
else.

A new kind, or a new field with a `Default`, is no new version: older readers pass over what they do not know, newer
ones put the default where an older writer left the field out. A field that goes or means something else is: raise
`EVENT_VERSION`, and teach `training.run.event_stream` to read the older meaning.

    1   all that was written before lines said their version
    2   lines say their version
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypedDict, get_type_hints

EVENT_VERSION = 2

LARGEST_STEP = 2**31 - 1  # what the database holds
LARGEST_SEQ = 2**62
_LARGEST_INDEX = 2**15 - 1
_LAST_TIME = 253_402_300_000.0  # the year 9999

Check: TypeAlias = Callable[[Any], bool]


class Default(NamedTuple):
    """What a field is where the writer left it out, as writers did before there was such a field."""

    value: object


# Checks of one call each: they are asked of every field of millions of lines.


def _is_seq(value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SEQ


def _is_step(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_STEP


def _is_index(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_INDEX


def _is_version(value: object) -> bool:
    return type(value) is int and 1 <= value <= EVENT_VERSION


def _is_time(value: object) -> bool:
    return (type(value) is float or type(value) is int) and 0 <= value < _LAST_TIME


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_number(value: object) -> bool:
    """NaN and infinities are numbers here: a loss may become one, and people should see it."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1000)


def _are_numbers(value: object) -> bool:
    return type(value) is dict and all(map(_is_number, value.values()))


def _is_share(value: object) -> bool:
    return value is None or ((type(value) is float or type(value) is int) and 0 <= value <= 1)


Text: TypeAlias = Annotated[str, _is_text]
LaterText: TypeAlias = Annotated[str, _is_text, Default("")]
Step: TypeAlias = Annotated[int, _is_step]
LaterCount: TypeAlias = Annotated[int, _is_step, Default(0)]
Number: TypeAlias = Annotated[float, _is_number]
Numbers: TypeAlias = Annotated[dict[str, float], _are_numbers]
Share: TypeAlias = Annotated[float | None, _is_share]
"""A probability, or a difference of two; None where there is none."""


class Head(TypedDict):
    """What every event has, besides its kind."""

    seq: Annotated[int, _is_seq]
    time: Annotated[float, _is_time]
    v: Annotated[int, _is_version, Default(1)]


class MetricEvent(Head):
    """Numbers of a step, by tag."""

    kind: Literal["metric"]
    step: Step
    values: Numbers


class ProgressEvent(Head):
    """How far the stage is."""

    kind: Literal["progress"]
    done: Step
    total: Step
    unit: Text


class SampleEvent(Head):
    """What the policy answered to a followed prompt; `rewards` are those of the principles, standardised."""

    kind: Literal["sample"]
    step: Step
    index: Annotated[int, _is_index]
    prompt: Text
    response: Text
    reward: Number
    rewards: Numbers


class AnswerBody(TypedDict):
    """What a judge said of a pair in the first of two orders; `training.judges.judge.Answer` explains it."""

    pair: Text
    probability: Share
    reason: Text
    tokens_in: Step
    tokens_out: Step
    calls: Step
    chars: Step
    model: Text


class AnswerEvent(AnswerBody, Head):
    """Half of a pair's label was bought: the label follows with the second order."""

    kind: Literal["answer"]


class LabelBody(TypedDict):
    """A row of labels.jsonl: what a judge said of a pair (its digest); `training.judges.judge.Verdict` explains it."""

    pair: Text
    principle: LaterText
    probability: Share
    p_shown: Share
    p_swapped: Share
    order_gap: Annotated[float | None, _is_share, Default(None)]
    error: Text
    tokens: Step
    model: LaterText
    tokens_in: LaterCount
    calls: LaterCount
    chars: LaterCount
    judge: Text
    prompt_version: Text


class LabelEvent(LabelBody, Head):
    """A pair has its label, or the error that it has instead."""

    kind: Literal["label"]


class SiblingLabelBody(LabelBody):
    """The label of another principle than the stage's, asked about in the same pass; `statement` is its wording.

    It has a kind of its own because older readers take every `label` for the stage's own principle.
    """

    statement: Text


class SiblingLabelEvent(SiblingLabelBody, Head):
    """A pair has its label for another principle of the run."""

    kind: Literal["sibling_label"]


class ArtifactEvent(Head):
    """A file that is complete, or a folder; its path is relative to the stage's folder."""

    kind: Literal["artifact"]
    name: LaterText
    path: LaterText


class LogEvent(Head):
    """A line for people."""

    kind: Literal["log"]
    level: Annotated[str, _is_text, Default("info")]
    message: LaterText


class WarningEvent(Head):
    """Something is wrong at a step; `code` is for programs, `message` for people."""

    kind: Literal["warning"]
    code: Text
    message: LaterText
    step: Step


class RewindEvent(Head):
    """Points and samples after `step` are void: the stage resumed from a checkpoint at that step."""

    kind: Literal["rewind"]
    step: Step


Event: TypeAlias = (MetricEvent | ProgressEvent | SampleEvent | AnswerEvent | LabelEvent | SiblingLabelEvent
                    | ArtifactEvent | LogEvent | WarningEvent | RewindEvent)
Kind: TypeAlias = Literal["metric", "progress", "sample", "answer", "label", "sibling_label", "artifact", "log",
                          "warning", "rewind"]

TYPES: dict[str, Any] = {
    "metric": MetricEvent, "progress": ProgressEvent, "sample": SampleEvent, "answer": AnswerEvent, "label": LabelEvent,
    "sibling_label": SiblingLabelEvent, "artifact": ArtifactEvent, "log": LogEvent,
    "warning": WarningEvent, "rewind": RewindEvent}
HEAD = frozenset({*Head.__annotations__, "kind"})
"""The fields that belong to the line: without them an event is its body."""


class Field(NamedTuple):
    """A field of a type: how its value is checked, and what it is where it was left out (None: it may not be)."""

    name: str
    fits: Check
    default: Default | None = None


def _fields_of(event_type: type) -> tuple[Field, ...]:
    fields = []
    for name, hint in get_type_hints(event_type, include_extras=True).items():
        if name != "kind":  # by which the type was found
            fits, *later = hint.__metadata__
            fields.append(Field(name, fits, *later))
    return tuple(fields)


FIELDS = {kind: _fields_of(event_type) for kind, event_type in TYPES.items()}
HEAD_FIELDS = (*_fields_of(Head), Field("kind", _is_text))
