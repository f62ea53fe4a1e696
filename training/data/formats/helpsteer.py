"""HelpSteer 1, 2 (arXiv 2311.09528, 2406.08673) and 3 (arXiv 2505.11475).

1 and 2: a row is one response with ratings on five attributes; neighbours with the same prompt make pairs, by
helpfulness, and keep all five ratings. 3: a row is a pair with a preference from -3 (the first is much better) to 3,
which is kept as a graded one (`training.data.ratings`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from training.data.formats.comparison import Completion, best_against_others, pair_of
from training.data.formats.layout import Layout, Made, Numbered, Problem, Record, each
from training.data.formats.values import number_at, text_at, value_of
from training.data.messages import UnusableRow, checked_prompt, prompt_of
from training.data.ratings import GRADED, graded, rating_at
from training.dialogue import Dialogue

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = "<extra_id_1>"  # stands before "User" or "Assistant" and a line break, where a prompt has several turns


def _rated(records: Sequence[Numbered]) -> Iterator[Made]:
    completions: list[Completion] = []
    prompt: Dialogue | None = None
    for number, record in records:
        try:
            prompt = prompt or _prompt(text_at(record, "prompt"))
            text = text_at(record, "response")
            if not text.strip():
                raise UnusableRow("the response is empty")
            rating = number_at(record, "helpfulness")
            if rating is None:
                raise UnusableRow(f"'helpfulness' is {str(record.get('helpfulness'))[:50]!r}, not a number")
            rated = {name: rating_at(record, name) for name in ATTRIBUTES}
            completions.append(Completion(text, rating, {
                name: value for name, value in rated.items() if value is not None}))
        except UnusableRow as problem:
            yield Problem(str(problem), number)
    if prompt and len(completions) == 1:
        yield Problem("no neighbour has the same prompt: a pair needs two responses to it")
    elif prompt and completions:
        yield from best_against_others(prompt, completions)


def _prompt(text: str) -> Dialogue:
    first, *others = text.split(_TURN)
    messages: Dialogue = [{"role": "user", "content": first.strip()}]
    for turn in others:
        speaker, _, words = turn.partition("\n")
        messages.append({"role": "assistant" if speaker.strip().lower() == "assistant" else "user",
                         "content": words.strip()})
    if len(messages) > 1 and not messages[-1]["content"] and messages[-1]["role"] == "assistant":
        messages.pop()
    return checked_prompt(messages)


def _preferred(record: Record) -> Iterator[Made]:
    preference = number_at(record, "overall_preference")
    if preference is None or abs(preference) > 3:
        raise UnusableRow(f"'overall_preference' is {str(record.get('overall_preference'))[:50]!r}, "
                          "not a number from -3 to 3")
    yield pair_of(prompt_of(value_of(record, "context")), text_at(record, "response1"), text_at(record, "response2"),
                  None if preference == 0 else "a" if preference < 0 else "b", {GRADED: graded(-preference, 3)})


HELPSTEER = Layout("helpsteer", "responses rated on five attributes, paired by helpfulness (HelpSteer, HelpSteer2)",
                   ("prompt", "response", "helpfulness", "correctness", "coherence"), _rated,
                   also=("complexity", "verbosity"), group=("prompt",))
HELPSTEER3 = Layout("helpsteer3", "pairs with a preference from -3 to 3 (HelpSteer3)",
                    ("context", "response1", "response2", "overall_preference"), each(_preferred))
