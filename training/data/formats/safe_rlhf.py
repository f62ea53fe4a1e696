"""PKU-SafeRLHF (arXiv 2406.15513): two responses, which is better and which is safer. Torch-free.

The better one is the chosen one; where nobody said which is better, the safer one. Left out: the categories of harm.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.data.formats.comparison import Choice, pair_of
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, text_at
from training.data.messages import UnusableRow, prompt_of

_CHOICES: dict[float | None, Choice] = {0: "a", 1: "b", -1: None, None: None}


def _rows(record: Record) -> Iterator[Made]:
    name = "better_response_id" if record.get("better_response_id") not in (None, "") else "safer_response_id"
    answer = number_at(record, name)
    if answer not in _CHOICES or (answer is None and record.get(name) not in (None, "")):
        raise UnusableRow(f"'{name}' is {str(record.get(name))[:50]!r}, not 0 or 1")
    yield pair_of(prompt_of(text_at(record, "prompt")), text_at(record, "response_0"), text_at(record, "response_1"),
                  _CHOICES[answer])


_TITLE = "two responses, which is better and which is safer (PKU-SafeRLHF)"
SAFE_RLHF = Layout("safe-rlhf", _TITLE, ("prompt", "response_0", "response_1", "better_response_id"), each(_rows),
                   also=("safer_response_id",))
ONLY_SAFER = Layout("safe-rlhf-safer", "two responses and which is safer (PKU-SafeRLHF)",
                    ("prompt", "response_0", "response_1", "safer_response_id"), each(_rows))
