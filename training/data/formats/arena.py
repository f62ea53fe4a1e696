"""Chatbot Arena (arXiv 2403.04132): two models' answers and whom a visitor preferred, in its two layouts.

Whole conversations with `winner`, and lmsys pairs: lists of turns with `winner_model_a`, `winner_model_b` and
`winner_tie`. Ties are undecided. Conversations of several turns share no prompt, because each model's own answers stand
in them.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.data.formats.comparison import Choice, last_replies, pair_of
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, value_of
from training.data.messages import UnusableRow, prompt_of
from training.data.records.cells import kind_of

_WINNERS: dict[str, Choice] = {"model_a": "a", "model_b": "b", "tie": None, "tie (bothbad)": None, "both_bad": None}


def _conversations(record: Record) -> Iterator[Made]:
    winner = record.get("winner")
    if not isinstance(winner, str) or winner not in _WINNERS:
        raise UnusableRow(f"'winner' is {str(winner)[:50]!r}; known are {', '.join(_WINNERS)}")
    prompt, a, b = last_replies(value_of(record, "conversation_a"), value_of(record, "conversation_b"))
    yield pair_of(prompt, a, b, _WINNERS[winner])


def _turns(record: Record) -> Iterator[Made]:
    prompts, a, b = (_texts(record, name) for name in ("prompt", "response_a", "response_b"))
    if len(prompts) > 1:
        raise UnusableRow(f"the two dialogues of {len(prompts)} turns share no prompt: they differ before the last "
                          "reply")
    if not len(prompts) == len(a) == len(b):
        raise UnusableRow("it has no prompt with one response of each model")
    won = [name for name in ("winner_model_a", "winner_model_b", "winner_tie") if number_at(record, name) == 1]
    if len(won) != 1:
        raise UnusableRow("not exactly one of winner_model_a, winner_model_b and winner_tie is 1")
    choices: dict[str, Choice] = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": None}
    yield pair_of(prompt_of(prompts[0]), a[0], b[0], choices[won[0]])


def _texts(record: Record, name: str) -> list[str]:
    value = value_of(record, name)
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise UnusableRow(f"'{name}' holds a turn that is {kind_of(text)}, not text")
    return texts


ARENA = Layout("arena", "two models’ conversations and the winner (Chatbot Arena)",
               ("conversation_a", "conversation_b", "winner"), each(_conversations))
LMSYS = Layout("lmsys", "two models’ responses and the winner (lmsys pairs)",
               ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"), each(_turns))
