"""Makes the answers of a front's policies: the engine's own command in a process of its own, whose lines are stored."""

from __future__ import annotations

from typing import Any

from training.errors import ModelUnavailable, TrainingError
from webapp.fronts import services
from webapp.fronts.judging import prompts_of
from webapp.fronts.models import PolicyFront, PolicyPoint
from webapp.playground.selectors import CannotMix, NotYours, Policies, policies_of
from webapp.runs.model_home import models_home
from workers.answer_process import make_answers, policy_entry
from workers.policies import located

BATCH = 64  # as in the evaluation, whose random numbers these are


def answer_front(front_id: int) -> None:
    """Make the answers that are missing, and queue it for the judge. Does nothing if another worker does, or the job
    was cancelled."""
    front = services.front_claim_answers(front_id=front_id)
    if front is None:
        return
    try:
        job = job_of(front)
        problem = make_answers(job, lambda answers: services.answers_store(answers=answers),
                               lambda: services.front_seen(front=front)) if job["policies"] else ""
    except TrainingError as error:
        return services.front_failed(front=front, cause=error.cause, remedy=error.remedy)
    except Exception:
        services.front_failed(front=front, cause="An unexpected error occurred in the worker.",
                              remedy="See the workers' log for details, then start it again.")
        raise
    if problem:
        services.front_failed(front=front, cause=problem, remedy=
                              "Correct that, then start it again: the answers that are stored are not made again.")
    elif problem is not None:
        services.front_answered(front=front)


def job_of(front: PolicyFront) -> dict[str, Any]:
    """The job of `training.policy_answers`; prompts are numbered by their place in the run's evaluation.

    Raises:
        ModelUnavailable: a policy is no longer there.
        BadData: the run or its evaluation is gone.
    """
    prompts, policies = prompts_of(front).prompts[:front.prompts], policies_of(front.team_id)
    missing = services.missing_answers(front)
    entries = [policy_entry(point.pk, located(front.team_id, _reference(policies, point)),
                            whole_batches(missing[point.pk], front.prompts))
               for point in front.points.filter(pk__in=list(missing))]
    return {"prompts": {str(place): prompt for place, prompt in enumerate(prompts)}, "policies": entries,
            "temperature": front.temperature, "max_new_tokens": front.max_new_tokens, "seed": front.seed,
            "batch": BATCH, "models": models_home().to_json(), "scorer": None}


def whole_batches(missing: list[int], prompts: int) -> list[int]:
    """The prompts of every batch of which some answer is missing: a batch draws its random numbers together, so that an
    answer is the same whether the job was interrupted or not."""
    return [place for batch in sorted({place // BATCH for place in missing})
            for place in range(batch * BATCH, min((batch + 1) * BATCH, prompts))]


def _reference(policies: Policies, point: PolicyPoint) -> dict[str, Any]:
    try:
        (key, weight), *others = point.parts
        return policies.reference(key) if not others and weight == 1 else policies.mixed(point.parts)
    except (NotYours, CannotMix):
        raise ModelUnavailable(f"A policy of “{point.label}” no longer exists.",
                               "Make a new front without it.") from None
