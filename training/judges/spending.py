"""What answers have cost, and the budget that bounds it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from training.config import JudgeSettings
from training.errors import BudgetSpent
from training.judges.estimate import CHARS_PER_TOKEN, FRAME
from training.judges.server_capabilities import THINKING


@dataclass
class Spending:
    """What was paid for: answers, tokens read and written, and the characters that were asked."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    chars: int = 0

    def add(self, calls: int, tokens_in: int, tokens_out: int, chars: int) -> None:
        self.calls += calls
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.chars += chars

    def money(self, settings: JudgeSettings) -> float:
        """At the settings' prices per million tokens."""
        return (self.tokens_in * settings.price_in + self.tokens_out * settings.price_out) / 1e6

    def expected(self, settings: JudgeSettings, calls: int, chars: int) -> Spending:
        """The total after so many more answers, to questions of so many characters altogether.

        They are assumed to cost what answers have cost so far. Before the first one, and where a server does not report
        tokens, the highest usual cost per character and answer is assumed: a budget is a bound.
        """
        fewest = CHARS_PER_TOKEN[0]
        answers_per_question = settings.samples if settings.logprobs == "no" else 1
        if self.tokens_in and self.chars:
            tokens_in = self.tokens_in + self.tokens_in * chars / self.chars
        else:
            tokens_in = (self.chars + chars) / fewest + FRAME * (self.calls + calls)
        if self.tokens_out and self.calls:
            tokens_out = self.tokens_out + self.tokens_out * calls / self.calls
        else:
            tokens_out = (self.calls + calls) * (THINKING if settings.reasoning else 2.0 * answers_per_question)
        return Spending(self.calls + calls, round(tokens_in), round(tokens_out), self.chars + chars)


def allows(settings: JudgeSettings, spent: Spending, calls: int, chars: int) -> bool:
    """Whether the budget allows so many more answers, to questions of so many characters altogether."""
    if settings.budget_calls and spent.calls + calls > settings.budget_calls:
        return False
    if not (settings.budget_tokens or settings.budget_money):
        return True
    after = spent.expected(settings, calls, chars)
    if settings.budget_tokens and after.tokens_in + after.tokens_out > settings.budget_tokens:
        return False
    return not (settings.budget_money and after.money(settings) > settings.budget_money)


def budget_spent(settings: JudgeSettings, spent: Spending) -> BudgetSpent:
    """The error once `allows` is false and nothing is in flight."""
    tokens = spent.tokens_in + spent.tokens_out
    parts = [f"{spent.calls} of {settings.budget_calls} answers" if settings.budget_calls else "",
             f"{tokens} of {settings.budget_tokens} tokens" if settings.budget_tokens else "",
             f"{spent.money(settings):.2f} of {settings.budget_money:.2f} in money" if settings.budget_money else ""]
    return BudgetSpent(f"This stage's share of the judge's budget has no room for the next answer: "
                       f"{', '.join(filter(None, parts))} are spent.",
                       "What was bought is kept: raise the budget, then resume.")
