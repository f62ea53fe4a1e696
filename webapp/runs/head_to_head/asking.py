"""The job of a head to head: asks the judge for the verdicts that are missing, and counts who won.

Each verdict is in the ledger as soon as it arrives, so that a worker that is killed, a cancel and a failure lose none.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from training.config import JudgeSettings
from training.errors import BadData, TrainingError
from training.judges.addresses import use_allowed_hosts
from training.judges.choose import make_judge
from training.judges.judge import PairQuestion
from training.judges.verdict_ledger import VerdictLedger, buy_verdicts
from training.quality.head_to_head import standings, win_matrix
from webapp.judges.keys import key_of
from webapp.runs.head_to_head import services
from webapp.runs.head_to_head.answers import common_answers
from webapp.runs.head_to_head.questions import Question
from webapp.runs.head_to_head.verdicts import Contest, items_of, ledger_path
from webapp.runs.models import HeadToHead

PART = 50  # questions between two looks at whether to go on


def head_to_head_run(*, head_to_head_id: int) -> None:
    """A second delivery of the task finds nothing to do."""
    row = services.head_to_head_claim(head_to_head_id=head_to_head_id)
    if row is None:
        return
    try:
        result = _result(row)
    except TrainingError as problem:
        services.head_to_head_failed(contest=row, cause=problem.cause, remedy=f"{problem.remedy} Then start it again: "
                                     "the verdicts that were bought stay.")
    except Exception:
        services.head_to_head_failed(contest=row, cause="An unexpected error occurred in the worker.", remedy=
                                     "See the workers' log for details, then start it again.")
        raise
    else:
        if result is not None:
            services.head_to_head_done(contest=row, result=result)


def contest_of(row: HeadToHead) -> Contest:
    """Raises BadData where a run or its answers are gone."""
    runs = [side.run for side in row.sides.select_related("run")]
    known = [run for run in runs if run is not None]
    if len(known) < len(runs):
        raise BadData("A run of this head to head was deleted.", "Start a new one without it.")
    common = common_answers(known)
    if row.with_base and common.base is None:
        raise BadData("The bases of these runs no longer answer alike.", "Start a new one without the base.")
    return Contest(common.first(row.prompts), [Question.model_validate(question) for question in row.questions],
                   JudgeSettings.model_validate(row.judge), row.with_base)


def _result(row: HeadToHead) -> dict[str, Any] | None:
    """The result, or None if the job was cancelled."""
    contest = contest_of(row)
    items = items_of(contest)
    key = key_of(team=row.team, judge=contest.judge) if items else ""
    use_allowed_hosts(settings.JUDGE_ALLOWED_HOSTS)
    ledger = VerdictLedger(ledger_path(row.team_id, contest.judge), contest.judge)
    try:
        missing = [item for item in items.values() if ledger.verdict(item) is None]
        if not _bought(row, contest.judge, key, ledger, missing, len(items)):
            return None
        return _counted(contest, ledger)
    finally:
        ledger.close()


def _bought(row: HeadToHead, judge: JudgeSettings, key: str, ledger: VerdictLedger, missing: list[PairQuestion],
            total: int) -> bool:
    """Whether all questions were asked; False if the job was cancelled."""
    size = max(PART, 4 * judge.concurrency)
    for start in range(0, len(missing), size):
        if not services.head_to_head_seen(contest=row, done=total - len(missing) + start, total=total):
            return False
        buy_verdicts(make_judge(judge, key), missing[start:start + size], ledger, lambda: None, lambda: None,
                     lambda words: None)
    return services.head_to_head_seen(contest=row, done=total, total=total)


def _counted(contest: Contest, ledger: VerdictLedger) -> dict[str, Any]:
    """Per question the matrix, how each policy fares against all others, and how many verdicts are missing."""

    def probability_of(item: PairQuestion) -> float | None:
        verdict = ledger.verdict(item)
        return verdict.probability if verdict is not None else None

    policies, results = len(contest.policies), []
    for name, columns in contest.columns(probability_of).items():
        results.append({
            "name": name, "without": sum(column.count(None) for column in columns.values()),
            "matrix": [[cell._asdict() if cell is not None else None for cell in cells]
                       for cells in win_matrix(columns, policies)],
            "standings": [standing._asdict() if standing is not None else None
                          for standing in standings(columns, policies)]})
    return {"prompts": len(contest.common.prompts), "questions": results}
