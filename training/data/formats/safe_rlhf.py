"""PKU-SafeRLHF (arXiv 2406.15513): two responses, which is better and which is safer. Torch-free.

The better one is the chosen one; where nobody said which is better, the safer one. Both answers are kept as ratings on
two aspects, `better` (which was asked of helpfulness) and `safer`: 1 for the response that was named, 0 for the other.
Left out: the categories of harm.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.data.formats.comparison import Choice, pair_of
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, text_at
from training.data.messages import UnusableRow, prompt_of
from training.data.ratings import Ratings

_CHOICES: dict[float, Choice] = {0: "a", 1: "b", -1: None}
_RATINGS: dict[Choice, tuple[float, float]] = {"a": (1, 0), "b": (0, 1)}


def _rows(record: Record) -> Iterator[Made]:
    answered = [aspect for aspect in ("better", "safer") if record.get(_column(aspect)) not in (None, "")]
    choices = {aspect: _choice(record, _column(aspect)) for aspect in answered}
    ratings: Ratings = {aspect: _RATINGS[choice] for aspect, choice in choices.items() if choice is not None}
    yield pair_of(prompt_of(text_at(record, "prompt")), text_at(record, "response_0"), text_at(record, "response_1"),
                  choices[answered[0]] if answered else None, ratings or None)


def _column(aspect: str) -> str:
    return f"{aspect}_response_id"


def _choice(record: Record, name: str) -> Choice:
    answer = number_at(record, name)
    if answer is None or answer not in _CHOICES:
        raise UnusableRow(f"'{name}' is {str(record.get(name))[:50]!r}, not 0 or 1")
    return _CHOICES[answer]


_TITLE = "two responses, which is better and which is safer (PKU-SafeRLHF)"
SAFE_RLHF = Layout("safe-rlhf", _TITLE, ("prompt", "response_0", "response_1", "better_response_id"), each(_rows),
                   also=("safer_response_id",))
ONLY_SAFER = Layout("safe-rlhf-safer", "two responses and which is safer (PKU-SafeRLHF)",
                    ("prompt", "response_0", "response_1", "safer_response_id"), each(_rows))
