"""The judge of the demo world: its rules decide, instantly and at no cost.

It has no position bias, so both orders agree. Left out: anything outside the demo world's language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from training.demo_world import rules
from training.dialogue import last_user_message
from training.errors import BadSettings
from training.judges.judge import Listener, PairQuestion, PairRequest, Verdict, collect, verdict_from_orders


class RuleJudge:
    """A Judge that applies `training.demo_world.rules`."""

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`. Raises BadSettings for a principle that no rule decides."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`. Raises BadSettings as `compare`."""
        for request in requests:
            item = request.item
            shown, swapped = _first_is_better(item, item.a, item.b), 1 - _first_is_better(item, item.b, item.a)
            listener.judged(request, verdict_from_orders(shown, swapped, tokens=0, model="rules"))


def _first_is_better(item: PairQuestion, first: str, second: str) -> float:
    prompt = last_user_message(item.prompt)
    if item.principle is None:
        return rules.overall_preference(prompt, first, second)
    if item.principle not in rules.PRINCIPLES:
        raise BadSettings(f"The demo world has no rule for '{item.principle}'.",
                          f"Choose among {', '.join(rules.PRINCIPLES)}, or another judge.")
    return rules.preference(item.principle, prompt, first, second)
