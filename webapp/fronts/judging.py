"""The second half of a front's job: asks the judge for the verdicts that are missing, and keeps each point's outcomes.

Each verdict is in the team's ledger as soon as it arrives, so that a worker that is killed, a cancel and a failure lose
none; a point has its outcomes as soon as its last verdict is there.
"""

from __future__ import annotations

from django.conf import settings

from training.config import JudgeSettings
from training.errors import BadData, TrainingError
from training.judges.addresses import use_allowed_hosts
from training.judges.choose import make_judge
from training.judges.judge import PairQuestion
from training.judges.verdict_ledger import VerdictLedger, buy_verdicts
from webapp.fronts import services
from webapp.fronts.held_out import HeldOut, held_out_of, of_stage
from webapp.fronts.models import PolicyFront, PolicyPoint
from webapp.judges.keys import key_of
from webapp.runs.head_to_head.questions import Question
from webapp.runs.head_to_head.verdicts import Contest, items_of, ledger_path

PART = 50  # questions between two looks at whether to go on


def front_judge(*, front_id: int) -> None:
    """A second delivery of the task finds nothing to do."""
    front = services.front_claim_verdicts(front_id=front_id)
    if front is None:
        return
    try:
        is_done = _judged(front)
    except TrainingError as problem:
        services.front_failed(front=front, cause=problem.cause, remedy=f"{problem.remedy} Then start it again: the "
                              "answers and the verdicts that were bought stay.")
    except Exception:
        services.front_failed(front=front, cause="An unexpected error occurred in the worker.",
                              remedy="See the workers' log for details, then start it again.")
        raise
    else:
        if is_done:
            services.front_done(front=front)


def prompts_of(front: PolicyFront) -> HeldOut:
    """The evaluation of the front's run.

    Raises:
        BadData: the run or its answers are gone, or it answered fewer prompts.
    """
    if front.run is None:
        raise BadData("The run whose held-out prompts these are was deleted.", "Make a new front of another run.")
    held_out = held_out_of(front.run)
    if len(held_out.prompts) < front.prompts:
        raise BadData(f"The front is of {front.prompts} prompts, and the run's evaluation has {len(held_out.prompts)} "
                      "now.", "Make a new front.")
    return held_out


def contest_of(front: PolicyFront, point: PolicyPoint, held_out: HeldOut) -> Contest:
    """A point's answers against the base's."""
    questions = [Question.model_validate(question) for question in front.questions]
    judge = JudgeSettings.model_validate(front.judge)
    if point.evaluation is not None:
        theirs = of_stage(point.evaluation, f"“{point.label}”").answers_like(held_out, front.prompts)
        if theirs is None:
            raise BadData(f"The evaluation of “{point.label}” is another one now.", "Make a new front.")
        return Contest(theirs.own(front.prompts), questions, judge, with_base=True)
    texts = dict(point.answers.values_list("prompt", "text"))
    return Contest(held_out.against_base([texts[place] for place in range(front.prompts)]), questions, judge,
                   with_base=True)


def _judged(front: PolicyFront) -> bool:
    """Whether every point has its outcomes; False if the job was cancelled."""
    open_points = list(front.points.filter(outcomes={}).select_related("evaluation"))
    held_out = prompts_of(front) if open_points else None
    contests = {point: contest_of(front, point, held_out) for point in open_points if held_out is not None}
    judge = JudgeSettings.model_validate(front.judge)
    asked = {key: item for contest in contests.values() for key, item in items_of(contest).items()}
    api_key = key_of(team=front.team, judge=judge) if asked else ""
    use_allowed_hosts(settings.JUDGE_ALLOWED_HOSTS)
    ledger = VerdictLedger(ledger_path(front.team_id, judge), judge)
    try:
        done = sum(ledger.verdict(item) is not None for item in asked.values())
        for point, contest in contests.items():
            items = [item for item in items_of(contest).values() if ledger.verdict(item) is None]
            size = max(PART, 4 * judge.concurrency)
            for start in range(0, len(items), size):
                if not services.front_seen(front=front, done=done, total=len(asked)):
                    return False
                part = items[start:start + size]
                buy_verdicts(make_judge(judge, api_key), part, ledger, lambda: None, lambda: None, lambda words: None)
                done += len(part)
            services.point_judged(point=point, outcomes=_outcomes(contest, ledger))
            if not services.front_seen(front=front, done=done, total=len(asked)):
                return False
    finally:
        ledger.close()
    return services.front_seen(front=front)


def _outcomes(contest: Contest, ledger: VerdictLedger) -> dict[str, list[float | None]]:
    def probability_of(item: PairQuestion) -> float | None:
        verdict = ledger.verdict(item)
        return verdict.probability if verdict is not None else None

    return {name: columns[0, 1] for name, columns in contest.columns(probability_of).items()}
