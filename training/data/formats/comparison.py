"""Pairs of responses to one prompt: two with or without a choice, and several of which some are rated.

Of several, the best stands against each other one: the design notes say why. Where no rating tells two apart, the pair
is undecided: a judge can label it, and no human choice is made up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from training.data.formats.layout import Made, Problem
from training.data.messages import UnusableRow, messages_of
from training.data.ratings import Ratings, in_other_order, ratings_of_pair
from training.data.row import Row
from training.dialogue import Dialogue

Choice: TypeAlias = Literal["a", "b"] | None


class Completion(NamedTuple):
    text: str
    rating: float | None  # higher is better
    aspects: Mapping[str, float] = {}  # the ratings that are kept with the row


def pair_of(prompt: Dialogue, a: str, b: str, choice: Choice, ratings: Ratings | None = None) -> Row:
    """Two responses to a prompt; `choice` says which one a person preferred, if one did. `ratings` are those of `a` and
    `b`."""
    a, b = a.strip(), b.strip()
    for text, place in ((a, "first"), (b, "second")):
        if not text:
            raise UnusableRow(f"the {place} response is empty")
    if a == b:
        raise UnusableRow("the two responses are the same")
    if choice == "b":
        return Row(prompt, b, a, ratings=in_other_order(ratings))
    return Row(prompt, a, b, choice is None, ratings)


def best_against_others(prompt: Dialogue, completions: Sequence[Completion]) -> Iterator[Made]:
    """A pair of the best completion with each of the others; the first of several that are equally good is the best."""
    usable: list[tuple[int, Completion]] = []
    for place, completion in enumerate(completions, 1):
        if completion.text.strip():
            usable.append((place, completion._replace(text=completion.text.strip())))
        else:
            yield Problem(f"completion {place} is empty")
    if len(usable) < 2:
        yield Problem(f"it has {len(usable)} completion{'' if len(usable) == 1 else 's'}: a pair needs two")
        return
    best_place, best = max(usable, key=lambda item: -math.inf if item[1].rating is None else item[1].rating)
    for place, (text, rating, aspects) in usable:
        if place == best_place:
            continue
        if text == best.text:
            yield Problem(f"completions {min(place, best_place)} and {max(place, best_place)} are the same")
        else:
            yield Row(prompt, best.text, text, best.rating is None or rating is None or rating == best.rating,
                      ratings_of_pair(best.aspects, aspects))


def last_replies(a: object, b: object) -> tuple[Dialogue, str, str]:
    """The shared prompt and the last replies of two whole dialogues."""
    first, second = messages_of(a), messages_of(b)
    for messages, place in ((first, "first"), (second, "second")):
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise UnusableRow(f"the {place} dialogue does not end with a reply of the assistant to a prompt")
    if first[:-1] != second[:-1]:
        raise UnusableRow("the two dialogues share no prompt: they differ before the last reply")
    return first[:-1], first[-1]["content"], second[-1]["content"]
