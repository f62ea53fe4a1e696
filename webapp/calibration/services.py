"""Changes to calibration sets, and checks of judges against them.

A check is a job of the workers: it asks in parts and stores each, takes what the team has already bought from the judge
for a wording, and goes on from there when it is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training import config
from training.errors import TrainingError
from training.judges import judge as engine
from training.judges.prompt import prompt_version
from webapp.accounts.models import Team, User
from webapp.calibration.models import CalibrationAnswer, CalibrationCheck, CalibrationItem, CalibrationSet
from webapp.calibration.people import choices_of
from webapp.celery import JOBS, send
from webapp.judges.comparisons import PART, ask_judge
from webapp.judges.identity import label_names
from webapp.judges.keys import key_of
from webapp.labels.models import Label
from webapp.principles.models import PrincipleVersion

TASK = "workers.check_calibration"
LOST = timedelta(minutes=2)  # without a sign of life a check may be sent again
S = CalibrationCheck.Status
_JUDGED = ["probability", "p_shown", "p_swapped", "error", "tokens"]


@transaction.atomic
def set_create(*, team: Team, user: User, name: str, only_blind: bool,
               earlier: CalibrationSet | None = None) -> CalibrationSet | None:
    """A set of what people have chosen so far; of an earlier one its next version. None if nobody has chosen."""
    choices = choices_of(team, only_blind=only_blind)
    if not choices:
        return None
    made: CalibrationSet = CalibrationSet.objects.create(
        team=team, name=name, only_blind=only_blind, created_by=user, earlier=earlier,
        version=earlier.version + 1 if earlier else 1)
    CalibrationItem.objects.bulk_create((
        CalibrationItem(set=made, pair_id=choice.pair, principle_id=choice.principle, choice=choice.value)
        for choice in choices), batch_size=1000)
    return made


def set_delete(*, calibration_set: CalibrationSet) -> None:
    """Delete a version with its checks; people's decisions stay on their labels."""
    calibration_set.delete()


@transaction.atomic
def check_start(*, calibration_set: CalibrationSet, user: User, judge: config.JudgeSettings, title: str,
                repeats: int) -> CalibrationCheck:
    """Ask a judge about every item with the newest wordings, and about the first `repeats` of each principle twice."""
    items = list(calibration_set.items.all())
    made: CalibrationCheck = CalibrationCheck.objects.create(
        team=calibration_set.team, set=calibration_set, judge=judge.model_dump(mode="json"), judge_title=title,
        wordings=newest_wordings({item.principle_id for item in items}), repeats=repeats, created_by=user)
    counts: dict[int, int] = {}
    answers = []
    for item in items:
        answers.append(CalibrationAnswer(check_of=made, item=item))
        counts[item.principle_id] = counts.get(item.principle_id, 0) + 1
        if counts[item.principle_id] <= repeats:
            answers.append(CalibrationAnswer(check_of=made, item=item, is_repeat=True))
    CalibrationAnswer.objects.bulk_create(answers, batch_size=1000)
    send(TASK, made.pk, queue=JOBS)
    return made


def newest_wordings(principles: set[int]) -> dict[str, str]:
    """The newest statement of each principle, by its number as text."""
    versions = PrincipleVersion.objects.filter(principle__in=principles).order_by("number")
    return {str(principle): statement for principle, statement in versions.values_list("principle_id", "statement")}


def check_again(*, check: CalibrationCheck) -> bool:
    """Restart a failed or lost check; its answers stay. Returns False if it is running, or done."""
    lost = Q(status__in=[S.QUEUED, S.RUNNING], seen_at__lt=timezone.now() - LOST)
    with transaction.atomic():
        changed = CalibrationCheck.objects.filter(Q(status=S.FAILED) | lost, pk=check.pk).update(
            status=S.QUEUED, error="", seen_at=timezone.now())
        if changed:
            check.answers.exclude(error="").update(error="", probability=None)
            send(TASK, check.pk, queue=JOBS)
    return bool(changed)


def checks_send_again() -> None:
    """Send again the checks whose message or worker was lost."""
    for check in CalibrationCheck.objects.filter(status__in=[S.QUEUED, S.RUNNING],
                                                 seen_at__lt=timezone.now() - LOST):
        check_again(check=check)


def check_run(*, check_id: int) -> None:
    """Ask the questions without an answer. A second delivery of the task finds nothing to do."""
    if not CalibrationCheck.objects.filter(pk=check_id, status=S.QUEUED).update(status=S.RUNNING,
                                                                               seen_at=timezone.now()):
        return
    check = CalibrationCheck.objects.select_related("team").get(pk=check_id)
    try:
        _ask_all(check)
    except TrainingError as problem:
        _settle(check, S.FAILED, str(problem))
    except Exception:
        _settle(check, S.FAILED, "An unexpected error occurred. See the workers' log for details, then send it again.")
        raise
    else:
        _settle(check, S.DONE)


def _ask_all(check: CalibrationCheck) -> None:
    judge = config.JudgeSettings.model_validate(check.judge)
    key = key_of(team=check.team, judge=judge)
    _take_known(check, judge)
    waiting = list(check.answers.filter(probability=None, error="").order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(waiting), PART):
        part = list(CalibrationAnswer.objects.filter(pk__in=waiting[start:start + PART])
                    .select_related("item__pair__text", "item__principle"))
        questions = [_question(check, answer.item) for answer in part]
        _store(part, asyncio.run(ask_judge(judge, key, questions)))
        CalibrationCheck.objects.filter(pk=check.pk).update(seen_at=timezone.now())


def _question(check: CalibrationCheck, item: CalibrationItem) -> engine.PairQuestion:
    text = item.pair.text
    return engine.PairQuestion(text.prompt, text.response_a, text.response_b,
                               check.wordings[str(item.principle_id)], item.principle.name)


def _store(part: Sequence[CalibrationAnswer], verdicts: Sequence[engine.Verdict]) -> None:
    for answer, verdict in zip(part, verdicts, strict=True):
        answer.probability, answer.p_shown, answer.p_swapped = verdict.probability, verdict.p_shown, verdict.p_swapped
        answer.error, answer.tokens = verdict.error[:500], verdict.tokens
        if answer.probability is None and not answer.error:
            answer.error = "The judge gave no verdict."
    CalibrationAnswer.objects.bulk_update(part, _JUDGED)


def _take_known(check: CalibrationCheck, judge: config.JudgeSettings) -> None:
    """Take the verdicts that the team has already bought from this judge for these wordings; a repeat is asked."""
    waiting = {(answer.item.pair_id, answer.item.principle_id): answer for answer in check.answers.filter(
        probability=None, error="", is_repeat=False).select_related("item")}
    labels = Label.objects.of(check.team).filter(
        pair__in={pair for pair, _ in waiting}, judge__in=label_names(team_id=check.team_id, judge=judge),
        prompt_version=prompt_version(judge), probability__isnull=False).select_related("principle_version")
    known = []
    for label in labels:
        principle = label.principle_version.principle_id
        if label.principle_version.statement != check.wordings.get(str(principle)):
            continue
        answer = waiting.pop((label.pair_id, principle), None)
        if answer is not None:
            answer.probability, answer.p_shown, answer.p_swapped = label.probability, label.p_shown, label.p_swapped
            answer.tokens = label.tokens
            known.append(answer)
    CalibrationAnswer.objects.bulk_update(known, _JUDGED, batch_size=500)


def _settle(check: CalibrationCheck, status: str, error: str = "") -> None:
    CalibrationCheck.objects.filter(pk=check.pk, status=S.RUNNING).update(status=status, error=error,
                                                                          seen_at=timezone.now())
