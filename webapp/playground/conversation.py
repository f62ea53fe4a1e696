"""A conversation with two policies at once, as the pane shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from training.dialogue import Dialogue
from webapp.playground.chat_events import AnswersScored
from webapp.principles.models import Principle

SIDES = ("A", "B")
Ticks = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Score:
    """One principle's standardised reward of an answer, and its difference from the other answer's."""

    principle: dict[str, str]
    value: float | None  # None: its measure has no number
    ahead: float
    part: float = 0.0


@dataclass(frozen=True)
class ShownAnswer:
    text: str = ""
    end: str = ""  # models.Answer.End; empty while it is being written
    tokens: int | None = None
    seconds: float | None = None
    scores: tuple[Score, ...] = ()
    reward: float | None = None
    ahead: float = 0.0

    @property
    def note(self) -> str:
        """Its length and time, and why it ends where it does."""
        reason = {"cut": "cut at the limit", "stopped": "stopped"}.get(self.end, "")
        took = f"{self.tokens} tokens in {self.seconds:.1f} s" if self.tokens is not None and self.seconds else ""
        return ", ".join(part for part in (took, reason) if part)


@dataclass(frozen=True)
class PrincipleChoice:
    """One principle's vote, and which answer its preference model scores higher: A, B or tie; empty where unknown."""

    principle: dict[str, str]
    person: str
    models: str


@dataclass(frozen=True)
class ShownVote:
    """A vote, and beside it which answer the preference models reward more."""

    words: str
    blind: bool
    models: str = ""
    by_principle: tuple[PrincipleChoice, ...] = ()


@dataclass(frozen=True)
class ShownTurn:
    """One prompt and both answers to it."""

    prompt: str
    answers: tuple[ShownAnswer, ShownAnswer] = (ShownAnswer(), ShownAnswer())
    pk: int | None = None
    place: int = 1  # among the attempts at this position
    attempts: int = 1
    sampling: dict[str, Any] = field(default_factory=dict)
    vote: ShownVote | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is something to vote on: both answers have come, and one has words."""
        return all(answer.end for answer in self.answers) and any(answer.text for answer in self.answers)

    def with_answer(self, side: int, **changes: Any) -> ShownTurn:
        left, right = self.answers
        changed = replace(self.answers[side], **changes)
        return replace(self, answers=(changed, right) if side == 0 else (left, changed))

    def stopped(self) -> ShownTurn:
        """The turn as it ends when nothing more will come: unfinished answers count as stopped."""
        turn = self
        for side in (0, 1):
            if not turn.answers[side].end:
                turn = turn.with_answer(side, end="stopped")
        return turn


@dataclass(frozen=True)
class ShownConversation:
    """Both histories: each policy sees its own answers only. `pk` is None before the first prompt."""

    policies: tuple[str, str]
    names: tuple[str, str]
    turns: tuple[ShownTurn, ...] = ()
    pk: int | None = None
    is_own: bool = True
    is_blind: bool = False
    is_revealed: bool = False
    system: str = ""

    @property
    def hides(self) -> bool:
        """Whether names and rewards are hidden."""
        return self.is_blind and not self.is_revealed

    @property
    def chosen(self) -> tuple[str, str]:
        """The policies as the lists show them: of a blind conversation in an order that tells nothing of the sides."""
        first, second = sorted(self.policies) if self.is_blind else self.policies
        return first, second

    def is_of(self, left: str, right: str) -> bool:
        """Whether it is a conversation with these two policies; a blind one has them in any order."""
        return sorted(self.policies) == sorted((left, right)) if self.is_blind else self.policies == (left, right)

    def dialogue(self, side: int, prompt: str) -> Dialogue:
        """The dialogue for one side: all turns that it has answered, then the prompt."""
        messages: Dialogue = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            if text := turn.answers[side].text:
                messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": text}]
        return [*messages, {"role": "user", "content": prompt}]


def with_rewards(turn: ShownTurn, event: AnswersScored, ticks: Ticks) -> ShownTurn:
    """The turn with the rewards of a `rewards` event under both answers."""
    for side in (0, 1):
        scores = tuple(
            Score(tick_of(row["name"], ticks), row["scores"][side], _ahead(row["scores"], side), row["parts"][side])
            for row in event["principles"]
        )
        totals = event["totals"]
        turn = turn.with_answer(side, scores=scores, reward=totals[side], ahead=totals[side] - totals[1 - side])
    return turn


def _ahead(scores: Sequence[float | None], side: int) -> float:
    own, other = scores[side], scores[1 - side]
    return 0.0 if own is None or other is None else own - other


def tick_of(name: str, ticks: Ticks) -> dict[str, str]:
    return ticks.get(name, {"name": name, "symbol": "●"})


def ticks_of(team_id: int) -> Ticks:
    """The look of each principle of a team, by name."""
    rows = Principle.objects.filter(team_id=team_id).values("name", "symbol")
    return {row["name"]: {"name": row["name"], "symbol": row["symbol"]} for row in rows}


def better(difference: float | None) -> str:
    """The side that is ahead, from A's score less B's."""
    return "" if difference is None else "tie" if difference == 0 else SIDES[difference < 0]
