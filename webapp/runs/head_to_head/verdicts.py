"""The verdicts of a head to head: which are known, which must be bought, and how they become columns.

A verdict is known from a ledger, one file per judge and team, in which it stands once whatever asked for it; and, of a
policy against its base, from the run's own evaluation, where the same judge was asked the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from training.config import JudgeSettings
from training.judges.identity import judge_name
from training.judges.judge import PairQuestion, Verdict
from training.judges.measure_judge import measured_verdicts, overall_by_weight
from training.judges.prompt import prompt_version
from training.judges.verdict_ledger import question_key
from training.quality.head_to_head import Pair, pairs_of
from training.run.artifacts import digest_of
from webapp.runs.head_to_head.answers import CommonAnswers
from webapp.runs.head_to_head.questions import OVERALL, Question

Column = list[float | None]


@dataclass(frozen=True)
class Asked:
    """One question about one pair on one prompt. `is_swapped`: the second policy's answer is the item's first."""

    question: str
    pair: Pair
    prompt: int
    item: PairQuestion
    is_swapped: bool

    def from_item(self, probability: float) -> float:
        """That the first policy's answer is the better."""
        return 1 - probability if self.is_swapped else probability


@dataclass(frozen=True)
class Contest:
    """Policies, prompts and questions; the base, where it takes part, is the last policy."""

    common: CommonAnswers
    questions: Sequence[Question]
    judge: JudgeSettings
    with_base: bool

    @property
    def policies(self) -> list[list[str]]:
        base = [self.common.base] if self.with_base and self.common.base is not None else []
        return [*self.common.policies, *base]

    @property
    def pairs(self) -> list[Pair]:
        return pairs_of(len(self.policies))

    def to_judge(self) -> Iterator[Asked]:
        """What the judge must say and no evaluation knows. All questions about a pair in a row: a server that keeps
        what it has read reads the pair once. Equal answers are ties, and nobody is asked about them."""
        judged = [question for question in self.questions if question.is_judged]
        policies = self.policies
        for i, j in self.pairs:
            known = self._evaluated(i, j)
            for place, prompt in enumerate(self.common.prompts):
                first, second = policies[i][place], policies[j][place]
                if first == second:
                    continue
                is_swapped = _is_swapped(first, second)
                a, b = (second, first) if is_swapped else (first, second)
                for question in judged:
                    if known(question, place) is None:
                        item = PairQuestion(prompt, a, b, question.statement, question.principle)
                        yield Asked(question.name, (i, j), place, item, is_swapped)

    def columns(self, probability_of: Callable[[PairQuestion], float | None]) -> dict[str, dict[Pair, Column]]:
        """By question and pair, the probability on each prompt that the first policy's answer is the better.

        Args:
            probability_of: what the judge said of an item; None where it gave no verdict.
        """
        policies, prompts = self.policies, len(self.common.prompts)
        even = {pair: [0.5 if policies[pair[0]][k] == policies[pair[1]][k] else None for k in range(prompts)]
                for pair in self.pairs}
        columns: dict[str, dict[Pair, Column]] = {
            question.name: {pair: list(column) for pair, column in even.items()} for question in self.questions}
        for i, j in self.pairs:
            known = self._evaluated(i, j)
            for question in (question for question in self.questions if question.is_judged):
                for place in range(prompts):
                    if (probability := known(question, place)) is not None:
                        columns[question.name][i, j][place] = probability
        for asked in self.to_judge():
            if (said := probability_of(asked.item)) is not None:
                columns[asked.question][asked.pair][asked.prompt] = asked.from_item(said)
        for pair in self.pairs:
            for name, verdicts in self._measured(pair).items():
                columns[name][pair] = [verdict.probability for verdict in verdicts]
        return columns

    def _measured(self, pair: Pair) -> Mapping[str, Sequence[Verdict]]:
        """The verdicts of measures, and over all by weight where every principle is measured."""
        policies = self.policies
        judges = {question.name: {"kind": "measure", "measure": question.measure} for question in self.questions
                  if question.measure is not None}
        verdicts = measured_verdicts(judges, self.common.prompts, policies[pair[0]], policies[pair[1]])
        overall = next((question for question in self.questions if question.shares is not None), None)
        weighed = {name: column for name, column in verdicts.items()
                   if overall is not None and overall.shares is not None and overall.shares.get(name)}
        if overall is not None and overall.shares is not None and weighed:
            total = sum(abs(overall.shares[name]) for name in weighed)
            shares = {name: overall.shares[name] / total for name in weighed}
            return verdicts | {OVERALL: overall_by_weight(weighed, shares)}
        return verdicts

    def _evaluated(self, i: int, j: int) -> Callable[[Question, int], float | None]:
        """What the evaluation of run i said of its answers against the base's, where j is the base."""
        is_base = self.with_base and j == len(self.common.policies)
        stored = self.common.settings[i] if is_base else {}
        theirs = JudgeSettings.model_validate(stored["judge"]) if "judge" in stored else None
        is_same = theirs is not None and _identity(theirs) == _identity(self.judge)
        measured = stored.get("measured", {})
        wordings = {name: words for name, words in stored.get("principles", {}).items() if name not in measured}
        if is_same and wordings:  # where all was measured, "overall" is no judge's word
            wordings[OVERALL] = ""
        else:
            wordings = {}

        def known(question: Question, place: int) -> float | None:
            if wordings.get(question.name) != question.statement:
                return None
            return self.common.verdicts[i][place].get(question.name)

        return known


def _identity(judge: JudgeSettings) -> tuple[str, str, bool]:
    """By what verdicts of two judges are the same."""
    return judge_name(judge), prompt_version(judge), judge.both_orders


def _is_swapped(first: str, second: str) -> bool:
    """In which order two answers are put to the judge: one that depends on the two alone, so that they are one question
    whichever policy wrote which, and that favours neither by its length or first letter."""
    return (digest_of(sorted((first, second)))[0] in "01234567") == (first < second)


def ledger_path(team: int, judge: JudgeSettings) -> Path:
    """The file in which all verdicts of a judge for a team's heads to heads stand."""
    return settings.ARTIFACTS / str(team) / "head-to-head" / f"{digest_of(list(_identity(judge)))[:16]}.jsonl"


def items_of(contest: Contest) -> dict[str, PairQuestion]:
    """What the judge is asked, by the key in a ledger, each once: two policies may have given the same answer."""
    items: dict[str, PairQuestion] = {}
    for asked in contest.to_judge():
        items.setdefault(question_key(contest.judge, asked.item), asked.item)
    return items
