"""What a head to head is going to be: who, on which prompts, how many verdicts, at what price; before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import QueryDict

from training.config import JudgeSettings
from training.errors import BadSettings
from training.judges.estimate import Estimate, estimate
from training.judges.judge import PairQuestion
from training.judges.prompt import question_of
from training.judges.verdict_ledger import bought_keys
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.runs.head_to_head.answers import CommonAnswers, common_answers
from webapp.runs.head_to_head.questions import (
    Question,
    judges_of,
    questions_of,
    recipes_of,
    worded_otherwise,
)
from webapp.runs.head_to_head.verdicts import Contest, items_of, ledger_path
from webapp.runs.models import Run

USUAL_PROMPTS = 200
SAMPLE = 200  # questions that the estimate is made from


@dataclass(frozen=True)
class Plan:
    """What the address asks for.

    Attributes:
        offered, judges: every question and judge to choose among. chosen, place: those that are chosen.
        verdicts: what the judge must say in all, and `missing` how much of that is still to be bought.
        estimate: of the calls for what is missing; None where nothing is paid: a rule, measures, all known.
    """

    runs: list[Run]
    common: CommonAnswers
    offered: list[Question]
    chosen: list[Question]
    judges: list[tuple[JudgeSettings, str]]
    place: int
    prompts: int
    with_base: bool
    verdicts: int
    missing: int
    estimate: Estimate | None
    otherwise: list[str]

    @property
    def judge(self) -> tuple[JudgeSettings, str]:
        return self.judges[self.place]

    @property
    def policies(self) -> int:
        return len(self.runs) + self.with_base

    @property
    def pairs(self) -> int:
        return self.policies * (self.policies - 1) // 2

    @property
    def known(self) -> int:
        return self.verdicts - self.missing

    @property
    def priced(self) -> bool:
        return bool(self.judge[0].price_in or self.judge[0].price_out)

    @property
    def names(self) -> list[str]:
        return [question.name for question in self.chosen]


def plan_of(*, team: Team, runs: list[Run], query: QueryDict) -> Plan:
    """What the query chooses: `q` by name (all where it names none), `judge`, `prompts`, `base`.

    Raises:
        BadSettings, BadData: these runs cannot be compared head to head.
    """
    common, recipes = common_answers(runs), recipes_of(runs)
    offered, judges = questions_of(recipes), judges_of(recipes)
    if not judges:
        raise BadSettings("The judges of these runs are models on the workers' own machine, which only stages can ask.",
                          "Let one of the runs be judged by a server, or vote on their answers in an arena.")
    named = set(query.getlist("q"))
    chosen = [question for question in offered if question.name in named] or offered
    place = min(row_key(query.get("judge", "")) or 0, len(judges) - 1)
    prompts = min(row_key(query.get("prompts", "")) or USUAL_PROMPTS, len(common.prompts))
    with_base = common.base is not None and (query.get("base") == "on" or "prompts" not in query)
    contest = Contest(common.first(prompts), chosen, judges[place][0], with_base)
    items, bought = items_of(contest), bought_keys(ledger_path(team.pk, judges[place][0]))
    missing = [item for key, item in items.items() if key not in bought]
    return Plan(runs, common, offered, chosen, judges, place, prompts, with_base, len(items), len(missing),
                _estimate(missing, judges[place][0]), worded_otherwise(recipes, offered))


def _estimate(missing: Sequence[PairQuestion], judge: JudgeSettings) -> Estimate | None:
    if judge.kind == "rule" or not missing:
        return None
    calls = len(missing) * (2 if judge.both_orders else 1)
    step = max(1, len(missing) // SAMPLE)
    texts = [question_of(judge, *item[:4]) for item in missing[::step]]
    return estimate(texts, judge, len(texts) / calls)
