"""The state of a conversation with two policies at once, and its HTML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from django.template.loader import render_to_string

from training.dialogue import Dialogue
from webapp.playground.chat_events import AnswersScored
from webapp.principles.models import Principle

SIDES = ("A", "B")


@dataclass(frozen=True)
class Score:
    """One principle's standardised reward of an answer, and its difference from the other answer's."""

    principle: dict[str, str]
    value: float
    ahead: float


@dataclass(frozen=True)
class ShownAnswer:
    text: str = ""
    note: str = ""
    scores: tuple[Score, ...] = ()
    reward: float | None = None
    ahead: float = 0.0
    complete: bool = False


@dataclass(frozen=True)
class Turn:
    """One prompt and both answers to it."""

    prompt: str
    answers: tuple[ShownAnswer, ShownAnswer] = (ShownAnswer(), ShownAnswer())

    def with_answer(self, side: int, **changes: Any) -> Turn:
        left, right = self.answers
        changed = replace(self.answers[side], **changes)
        return replace(self, answers=(changed, right) if side == 0 else (left, changed))


@dataclass
class Conversation:
    """Both histories: each policy sees its own answers only."""

    policies: tuple[str, str] = ("", "")
    turns: list[Turn] = field(default_factory=list)

    def dialogue(self, side: int, prompt: str) -> Dialogue:
        """The dialogue for one side: all turns that it has answered, then the prompt."""
        messages: Dialogue = []
        for turn in self.turns:
            if text := turn.answers[side].text:
                messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": text}]
        return [*messages, {"role": "user", "content": prompt}]


def with_rewards(turn: Turn, event: AnswersScored, ticks: dict[str, dict[str, str]]) -> Turn:
    """The turn with the rewards of a `rewards` event under both answers."""
    for side in (0, 1):
        scores = tuple(
            Score(ticks.get(row["name"], {"name": row["name"], "symbol": "●"}), row["scores"][side],
                  row["scores"][side] - row["scores"][1 - side])
            for row in event["principles"]
        )
        totals = event["totals"]
        turn = turn.with_answer(side, scores=scores, reward=totals[side], ahead=totals[side] - totals[1 - side])
    return turn


def ticks_of(team_id: int) -> dict[str, dict[str, str]]:
    """The look of each principle of a team, by name."""
    rows = Principle.objects.filter(team_id=team_id).values("name", "symbol")
    return {row["name"]: {"name": row["name"], "symbol": row["symbol"]} for row in rows}


def column_html(turns: list[Turn], side: int, title: str) -> str:
    """One column as HTML; every text in it is escaped."""
    rows = [{"prompt": turn.prompt, "answer": turn.answers[side]} for turn in turns]
    return render_to_string("playground/_column.html", {"rows": rows, "side": SIDES[side], "title": title})
