"""Steering: one prompt, answered by mixes of some policies at several weights.

A position is a share for each policy; shares sum to 1. The first position is that of the sliders, the others are pinned
to be compared with it. All of them answer in one request to the inference worker, which mixes the policies' adapters
for each row of its batch, so that a position costs no more than a policy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from django import forms
from django.http import QueryDict

from training.dialogue import Dialogue
from webapp.playground import stream
from webapp.playground.chat_events import AnswersScored
from webapp.playground.conversation import Score, ShownAnswer, Ticks, tick_of
from webapp.playground.selectors import Policies

MOST_POLICIES = 12
MOST_PINNED = 4
LONGEST_PROMPT = 8000  # characters

Shares = tuple[float, ...]


class SteeringForm(forms.Form):
    """What is asked, and how it is sampled. A fixed seed, so that only the position changes the answer."""

    prompt = forms.CharField(max_length=LONGEST_PROMPT, required=False, widget=forms.Textarea(attrs={"rows": 2}))
    temperature = forms.FloatField(min_value=0.05, max_value=2.0, initial=0.7)
    longest = forms.IntegerField(label="Longest answer (tokens)", min_value=1, max_value=1024, initial=64)
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0)


class BadPosition(ValueError):
    """The weights in a request cannot be used; the message says why, and the way out."""


@dataclass(frozen=True)
class Steering:
    """The policies that are mixed, where the sliders stand, and the pinned positions."""

    keys: tuple[str, ...]
    shares: Shares
    pinned: tuple[Shares, ...] = ()

    @property
    def positions(self) -> tuple[Shares, ...]:
        return (self.shares, *self.pinned)

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Each policy with its share where the sliders stand; those without a share are left out."""
        return [(key, share) for key, share in zip(self.keys, self.shares, strict=True) if share]

    def with_pin(self) -> Steering:
        """With the sliders' position pinned, unless it is already; the oldest pin makes room."""
        if self.shares in self.pinned:
            return self
        return replace(self, pinned=(*self.pinned, self.shares)[-MOST_PINNED:])

    def without_pin(self, place: int) -> Steering:
        return replace(self, pinned=self.pinned[:place] + self.pinned[place + 1:])


@dataclass(frozen=True)
class PositionAnswers:
    """What came of a prompt: an answer for each position, or why there is none."""

    answers: tuple[ShownAnswer, ...] = ()
    cause: str = ""
    remedy: str = ""


@dataclass
class _Collected:
    """The answers of a request while its events come."""

    answers: list[ShownAnswer]
    problem: tuple[str, str] = field(default=("", ""))


def steering_of(query: QueryDict) -> Steering:
    """What an address or a form says: `p` for each policy, `w` for its weight, `pin` for each pinned position.

    Raises:
        BadPosition: there are too many policies, or weights that are no shares.
    """
    keys = tuple(dict.fromkeys(key for key in query.getlist("p") if key))
    if len(keys) > MOST_POLICIES:
        raise BadPosition(f"{len(keys)} policies were chosen, and at most {MOST_POLICIES} are mixed. Choose fewer.")
    weights = query.getlist("w")
    shares = shares_of(weights, len(keys)) if weights else _equal(len(keys))
    pinned = [shares_of(text.split(","), len(keys)) for text in query.getlist("pin")[:MOST_PINNED]]
    return Steering(keys, shares, tuple(pinned))


def shares_of(weights: Sequence[str], count: int) -> Shares:
    """Shares that sum to 1, of weights as a form sends them.

    Raises:
        BadPosition: a weight is no number of 0 or more, there is not one for each policy, or all are 0.
    """
    if len(weights) != count:
        raise BadPosition(f"There are {len(weights)} weights for {count} policies. Give each policy one.")
    numbers = []
    for text in weights:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and 0 <= number <= 1e6):
            raise BadPosition(f"The weight '{text[:40]}' cannot be used. Give a number of 0 or more.")
        numbers.append(number)
    total = math.fsum(numbers)
    if not total:
        raise BadPosition("Every weight is 0. Give at least one policy a weight.")
    return tuple(round(number / total, 6) for number in numbers)


def _equal(count: int) -> Shares:
    return tuple(round(1 / count, 6) for _ in range(count)) if count else ()


def request_of(team_id: int, policies: Policies, steering: Steering, form: SteeringForm) -> stream.Request:
    """The request for the answers of all positions.

    Raises:
        NotYours, CannotMix: the policies cannot be mixed.
    """
    references = [policies.mixed(list(zip(steering.keys, shares, strict=True))) for shares in steering.positions]
    dialogue: Dialogue = [{"role": "user", "content": form.cleaned_data["prompt"].strip()}]
    sampling = stream.ChatSampling(form.cleaned_data["temperature"], 1.0, form.cleaned_data["longest"],
                                   form.cleaned_data["seed"])
    scorer = next((run for key in steering.keys if (run := policies.find(key))), None)
    return stream.Request(team=team_id, policies=references, dialogues=[dialogue] * len(references), sampling=sampling,
                          scorer=scorer.run if scorer else None)


async def answers_to(request: stream.Request, ticks: Ticks) -> PositionAnswers:
    """Wait for the answers of all positions and their rewards. A caller that goes away cancels them."""
    collected = _Collected([ShownAnswer() for _ in request.policies])
    try:
        async with aclosing(stream.events(request)) as events:
            async for event in events:
                if event["kind"] == "answer":
                    side = event["side"]
                    collected.answers[side] = replace(
                        collected.answers[side], text=event["text"], tokens=event["tokens"], seconds=event["seconds"],
                        end="complete" if event["ended"] else "cut")
                elif event["kind"] == "rewards":
                    collected.answers = [_with_scores(answer, side, event, ticks)
                                         for side, answer in enumerate(collected.answers)]
                elif event["kind"] == "failed":
                    collected.problem = event["cause"], event["remedy"]
    except stream.ChatFailed as error:
        collected.problem = error.cause, error.remedy
    if collected.problem[0] and not any(answer.end for answer in collected.answers):
        return PositionAnswers((), *collected.problem)
    return PositionAnswers(tuple(collected.answers), *collected.problem)


def _with_scores(answer: ShownAnswer, side: int, event: AnswersScored, ticks: Ticks) -> ShownAnswer:
    """With the rewards of its side; what it is ahead by is against the sliders' answer."""
    scores = tuple(
        Score(tick_of(row["name"], ticks), row["scores"][side], _ahead(row["scores"], side), row["parts"][side])
        for row in event["principles"])
    totals = event["totals"]
    return replace(answer, scores=scores, reward=totals[side], ahead=totals[side] - totals[0])


def _ahead(scores: Sequence[float | None], side: int) -> float:
    own, first = scores[side], scores[0]
    return 0.0 if own is None or first is None else own - first
