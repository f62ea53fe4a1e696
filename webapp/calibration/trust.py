"""On which principles of a run its judge has been measured against people."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Count

from training import config
from training.judges.identity import judge_name
from webapp.accounts.models import Team
from webapp.calibration.models import CalibrationAnswer, CalibrationCheck
from webapp.calibration.selectors import ENOUGH
from webapp.judges.identity import label_names

MOST_CHECKS = 200  # the team's newest


def unmeasured_principles(*, team: Team, judge: config.JudgeSettings, wordings: Mapping[str, str]) -> list[str]:
    """The principles on which no check has measured this judge with this wording, on enough pairs; three queries.

    Args:
        wordings: of the principles that the judge is to label, by name.
    """
    names = set(label_names(team_id=team.pk, judge=judge))
    checks = {check.pk: check for check in CalibrationCheck.objects.of(team).filter(
        status=CalibrationCheck.Status.DONE)[:MOST_CHECKS]
        if judge_name(config.JudgeSettings.model_validate(check.judge)) in names}
    counts = CalibrationAnswer.objects.filter(
        check_of__in=list(checks), is_repeat=False, probability__isnull=False).exclude(item__choice=0.5).order_by(
        ).values_list("check_of", "item__principle", "item__principle__name").annotate(Count("pk"))
    measured = {name for check, principle, name, pairs in counts
                if pairs >= ENOUGH and checks[check].wordings.get(str(principle)) == wordings.get(name)}
    return [name for name in wordings if name not in measured]
