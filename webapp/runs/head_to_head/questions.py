"""What may be asked about a pair of answers: which is better overall, and on each principle that a run has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.config import JudgeSettings, Recipe
from training.judges.identity import judge_name, judge_title
from webapp.runs.models import Run

OVERALL = "overall"


class Question(BaseModel):
    """One question.

    Attributes:
        statement: completes "Which response is ..."; "" for the one over all.
        measure: what decides it in place of the judge.
        shares: of the question over all where every principle is measured: the weights by which their verdicts count.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    statement: str = ""
    measure: dict[str, Any] | None = None
    shares: dict[str, float] | None = None

    @property
    def is_judged(self) -> bool:
        return self.measure is None and self.shares is None

    @property
    def principle(self) -> str | None:
        """As a judge is asked: None for the question over all."""
        return None if self.name == OVERALL else self.name


def recipes_of(runs: Sequence[Run]) -> list[Recipe]:
    """Raises BadSettings where this version cannot read one."""
    return [run.stored.recipe for run in runs]


def questions_of(recipes: Sequence[Recipe]) -> list[Question]:
    """The question over all, and one for each principle of any run, as the first run with it words or measures it.
    Measures that need reference answers are left out: those are in the files of a run's own stages."""
    questions = [Question(name=OVERALL, shares=recipes[0].weights_by_name if recipes[0].is_measured else None)]
    known = {OVERALL}
    for recipe in recipes:
        for choice in recipe.principles:
            if choice.name in known or choice.name in recipe.referenced:
                continue
            known.add(choice.name)
            questions.append(Question(name=choice.name, statement=choice.wording, measure=(
                choice.measure.model_dump(mode="json") if choice.measure is not None else None)))
    return questions


def worded_otherwise(recipes: Sequence[Recipe], questions: Sequence[Question]) -> list[str]:
    """The principles that some run words or measures otherwise than it is asked here."""
    asked = {question.name: (question.statement, question.measure) for question in questions}
    return list(dict.fromkeys(
        choice.name for recipe in recipes for choice in recipe.principles if choice.name in asked and
        asked[choice.name] != (choice.wording, choice.measure.model_dump(mode="json") if choice.measure else None)))


def judges_of(recipes: Sequence[Recipe]) -> list[tuple[JudgeSettings, str]]:
    """The judges of the runs with their titles, each once. One on the workers' own machine cannot be asked here."""
    judges: dict[str, tuple[JudgeSettings, str]] = {}
    for recipe in recipes:
        if recipe.judge.kind != "local":
            name = judge_name(recipe.judge)
            judges.setdefault(name, (recipe.judge, "the demo world’s rules" if name == "rule" else judge_title(name)))
    return list(judges.values())
