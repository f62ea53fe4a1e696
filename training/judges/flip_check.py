"""Stops a label stage whose judge contradicts itself, before more is spent; what was bought is kept. Torch-free.

It looks twice: when `FIRST_LOOK` pairs have both orders, and at the end. Each look is a line in the log. A judge that
cannot flip (rules, measures, one order only) is not looked at.
"""

from __future__ import annotations

from training.config import JudgeSettings
from training.errors import JudgeContradictsItself, StopRequested
from training.judges.identity import judge_name, judge_title
from training.judges.label_ledger import LabelLedger
from training.quality.label_verdict import FIRST_LOOK
from training.run.reporting import Reporter

NEVER_FLIP = frozenset({"rule", "measure"})


class FlipCheck:
    """The check of one principle's labels.

    Attributes:
        problem: why the stage stops; None while it goes on.
    """

    def __init__(self, settings: JudgeSettings, principle: str, ledger: LabelLedger, reporter: Reporter) -> None:
        self._settings, self._principle, self._ledger, self._reporter = settings, principle, ledger, reporter
        self._applies = settings.both_orders and settings.kind not in NEVER_FLIP
        self._looked_at = 0
        self.problem: JudgeContradictsItself | None = None

    def after_label(self) -> None:
        """Raises StopRequested, which judges answer by asking nothing more and handing over what is in flight."""
        if self._applies and self._looked_at < FIRST_LOOK <= self._ledger.with_both:
            try:
                self.look()
            except JudgeContradictsItself as problem:
                self.problem = problem
        if self.problem is not None:
            raise StopRequested

    def look(self) -> None:
        """Say what the labels so far are worth. Raises JudgeContradictsItself."""
        if not self._applies or not FIRST_LOOK <= self._ledger.with_both > self._looked_at:
            return
        verdict = self._ledger.verdict()
        self._looked_at = verdict.both
        self._reporter.log(f"the labels of {self._principle} so far: {verdict.words}")
        if not verdict.flips_too_often(self._settings.most_flips):
            return
        judge = judge_title(judge_name(self._settings))
        raise JudgeContradictsItself(
            f"The judge {judge} contradicts itself on '{self._principle}': on {verdict.flip_share.percent} it names "
            f"another winner when the two responses swap places ('judge.most_flips' is {self._settings.most_flips:g}). "
            f"Its labels name a winner on {verdict.decided_share.percent}.",
            "Ask another judge, or word the principle otherwise; or go on all the same with 'judge.most_flips: 1'. The "
            "labels are kept.")
