"""Makes the answers of an arena: the engine's own command in a process of its own, whose lines are stored."""

from __future__ import annotations

from typing import Any

from training.errors import ModelUnavailable, TrainingError
from training.run.pipeline import plan, served_by
from webapp.arena import answering
from webapp.arena.models import Arena, Entrant
from webapp.playground.selectors import NotYours, policies_of
from webapp.runs.model_home import models_home
from webapp.runs.models import Run
from workers.answer_process import make_answers, policy_entry
from workers.policies import located


def answer_arena(arena_id: int) -> None:
    """Make the answers that are missing. Does nothing if another worker does, or the job was canceled."""
    arena = answering.answers_claim(arena_id=arena_id)
    if arena is None:
        return
    try:
        problem = make_answers(job_of(arena), lambda answers: answering.answers_store(arena=arena, answers=answers),
                               lambda: answering.answers_seen(arena=arena))
    except TrainingError as error:
        return answering.answers_failed(arena=arena, cause=error.cause, remedy=error.remedy)
    except Exception:
        answering.answers_failed(arena=arena, cause="An unexpected error occurred in the worker.",
                                 remedy="See the workers' log for details, then start it again.")
        raise
    if problem:
        answering.answers_failed(arena=arena, cause=problem, remedy=
                                 "Correct that, then start it again: the answers that are stored are not made again.")
    elif problem is not None:
        answering.answers_done(arena=arena)


def job_of(arena: Arena) -> dict[str, Any]:
    """The job of `training.policy_answers`.

    Raises:
        ModelUnavailable: a policy is no longer there.
    """
    policies = [_policy(arena, entrant) for entrant in arena.entrants.select_related("arena")]
    return {"prompts": dict(arena.prompts.values_list("pk", "prompt")),
            "policies": [policy for policy in policies if policy["prompts"]],
            "temperature": arena.temperature, "max_new_tokens": arena.max_new_tokens, "seed": arena.seed,
            "models": models_home().to_json(), "scorer": _scorer(arena.scorer) if arena.scorer else None}


def _policy(arena: Arena, entrant: Entrant) -> dict[str, Any]:
    try:
        reference = policies_of(arena.team_id).reference(entrant.key)
    except NotYours:
        raise ModelUnavailable(f"The policy “{entrant.name}” no longer exists.",
                               "Make a new arena without it.") from None
    return policy_entry(entrant.pk, located(arena.team_id, reference), answering.missing_prompts(entrant))


def _scorer(run: Run) -> dict[str, Any]:
    recipe = run.stored.recipe
    stages = {use.name: use.stage for use in run.uses.select_related("stage")}
    return {"recipe": recipe.model_dump(mode="json"), "weights": str(stages["weights"].folder),
            "ppo": str(stages["ppo"].folder),
            "folders": {name: str(stages[stage].folder) for name, stage in served_by(plan(recipe)).items()}}
