"""Fronts with made-up answers and outcomes, for the tests of their pages and for looking at pages by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.webapp.runs.seeds import make_run
from training.config import Recipe, shipped_recipe
from training.dialogue import Dialogue
from training.run.artifacts import write_jsonl
from webapp.accounts.models import Team, User
from webapp.fronts.models import PolicyFront, PolicyPoint
from webapp.runs.models import Run

PROMPTS: list[Dialogue] = [[{"role": "user", "content": f"Question {number}?"}] for number in range(6)]


def recipe_of(**changes: Any) -> Recipe:
    """The demo's recipe with two principles, judged by a server that has a price."""
    recipe = shipped_recipe("demo").model_dump(mode="json")
    recipe |= {"judge": {"kind": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:9/v1", "price_in": 1.0,
                         "both_orders": False},
               "principles": [{"name": "factuality"}, {"name": "conciseness"}], "seed": 7}
    return Recipe.model_validate(recipe | changes)


def evaluated(team: Team, owner: User, name: str, answers: Sequence[str], *, recipe: Recipe | None = None,
              base: Sequence[str] = ("no",) * 6, prompts: Sequence[Any] = PROMPTS,
              verdicts: dict[str, float] | None = None) -> Run:
    """A finished run whose evaluation kept these answers; the base says 'no' to everything."""
    recipe = recipe or recipe_of()
    run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name=name, recipe=recipe)
    stage = stages["evaluate"]
    stage.settings = {"judge": recipe.judge.model_dump(mode="json"),
                      "principles": {choice.name: choice.wording for choice in recipe.principles}}
    stage.save()
    stage.folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(stage.folder / "answers.jsonl", [
        {"prompt": prompt, "policy": answer, "base": said, "verdicts": verdicts or {}}
        for prompt, answer, said in zip(prompts, answers, base, strict=True)])
    return run


def judged_front(team: Team, owner: User, outcomes: Sequence[tuple[str, Mapping[str, list[float | None]]]], *,
                 run: Run | None = None, kind: str = PolicyPoint.Kind.LINE, name: str = "A line") -> PolicyFront:
    """A front that is done, whose points have these labels and outcomes."""
    questions = [{"name": name, "statement": ""} for name in outcomes[0][1]]
    prompts = len(next(iter(outcomes[0][1].values())))
    front = PolicyFront.objects.create(
        team=team, created_by=owner, name=name, run=run, status=PolicyFront.Status.DONE, judge={"kind": "rule"},
        judge_title="the demo world’s rules", questions=questions, prompts=prompts, temperature=1.0, max_new_tokens=8,
        seed=0)
    shares = [place / max(1, len(outcomes) - 1) for place in range(len(outcomes))]
    PolicyPoint.objects.bulk_create(
        PolicyPoint(front=front, place=place, kind=kind, label=label, outcomes=dict(columns),
                    parts=[["tuned:1", 1 - shares[place]], ["tuned:2", shares[place]]])
        for place, (label, columns) in enumerate(outcomes))
    return front
