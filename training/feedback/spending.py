"""What answers have cost, and the budget that they must keep. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from training.config import Judge
from training.errors import BudgetSpent


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

    def money(self, settings: Judge) -> float:
        """At the settings' prices a million tokens."""
        return (self.tokens_in * settings.price_in + self.tokens_out * settings.price_out) / 1e6


def allows(settings: Judge, spent: Spending, in_flight: int) -> bool:
    """Whether one more question keeps the budget, should what is in flight cost what answers cost on average."""
    waiting = in_flight + 1
    if settings.budget_calls and spent.calls + waiting > settings.budget_calls:
        return False
    share = 1 + waiting / spent.calls if spent.calls else 1.0
    if settings.budget_tokens and (spent.tokens_in + spent.tokens_out) * share > settings.budget_tokens:
        return False
    return not (settings.budget_money and spent.money(settings) * share > settings.budget_money)


def budget_spent(settings: Judge, spent: Spending) -> BudgetSpent:
    """What to tell once `allows` says no and nothing is in flight."""
    tokens = spent.tokens_in + spent.tokens_out
    parts = [f"{spent.calls} of {settings.budget_calls} answers" if settings.budget_calls else "",
             f"{tokens} of {settings.budget_tokens} tokens" if settings.budget_tokens else "",
             f"{spent.money(settings):.2f} of {settings.budget_money:.2f} in money" if settings.budget_money else ""]
    return BudgetSpent(f"This principle's share of the judge's budget is spent: {', '.join(filter(None, parts))}.",
                       "What was bought is kept: raise the budget, then resume.")
