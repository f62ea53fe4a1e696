"""Label pairs by one principle: ask the judge which response serves it better, keep the probability.

MORLAIF (arXiv 2406.07295) keeps the harder letter of one order; here both orders are asked and the mean is a soft
label. Every answer is written to the report stream first: the first of two orders as an `answer`, the pair as a
`label`. So none is bought twice: what `known_labels` and an earlier attempt of this stage hold is reused, also where
only one order was answered. After 50 pairs, and at the end, a judge that contradicts itself stops the stage
(`flip_check`). Pairs are streamed, never held in memory. Torch-free, except for a local judge, which is asked about the
run's other principles of an open pair at once (`sibling_labels`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from training.errors import BadData, JudgeUnavailable, StopRequested
from training.judges.choose import judge_settings
from training.judges.control import ControlFile
from training.judges.flip_check import FlipCheck
from training.judges.judge import Answer, PairQuestion, PairRequest, Verdict, as_answer, as_label
from training.judges.label_ledger import LabelLedger
from training.judges.pair_index import PairIndex
from training.judges.rate_controller import RateController
from training.judges.sibling_labels import SiblingLabels
from training.models.stage_judge import make_stage_judge
from training.run.artifacts import Job, write_jsonl
from training.run.references import references_of
from training.run.reporting import Reporter

EVERY = 2.0  # seconds between two reports, where fewer than a fiftieth of the labels arrived


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write labels.jsonl: one row per pair, errors included, in the order of the pairs.

    Raises:
        BadData: no pairs.
        JudgeUnavailable: the judge is out of reach, or could not label more than half of the pairs.
        JudgeContradictsItself: too many labels turn with the order of the responses.
        BudgetSpent: the next answer would cost more than the settings allow.
    """
    settings = judge_settings(job)
    pairs = chosen_pairs(job, settings.max_pairs)
    known_labels = job.files.get("known_labels")
    ledger = LabelLedger(pairs, job.settings["principle"], settings.both_orders, known_labels, folder / "events.jsonl")
    siblings = SiblingLabels(pairs, job.runtime.get("siblings", {}), settings.both_orders, known_labels,
                             folder / "events.jsonl")
    reporter.log(f"{len(pairs)} pairs to label for {job.settings['principle']}, {ledger.count} of them labelled before")
    if siblings.statements:
        reporter.log(f"the judge is asked in the same pass about {', '.join(siblings.statements)}")
    if ledger.count:
        reporter.rewind(ledger.count)  # pairs that failed in an earlier attempt are counted again
    flip_check = FlipCheck(settings, job.settings["principle"], ledger, reporter)
    listener = _LabelListener(job, folder, pairs, ledger, siblings, flip_check, reporter)
    if ledger.count < len(pairs):
        flip_check.look()  # at what was bought before: what stopped once buys nothing more
        judge = make_stage_judge(listener.settings, spent=ledger.spent, folder=folder,
                                 reference_of=references_of(job))
        try:
            _run(judge.stream(listener.requests(), listener))
        except StopRequested:
            if flip_check.problem is not None:
                raise flip_check.problem from None
            raise
    _check(ledger, reporter)
    flip_check.look()
    write_jsonl(folder / "labels.jsonl", ledger.rows())
    reporter.progress(len(pairs), len(pairs), "label")
    reporter.artifact("labels", "labels.jsonl")


class _LabelListener:
    """Makes the requests to the judge, and records every answer as it arrives (a `judge.Listener`)."""

    def __init__(self, job: Job, folder: Path, pairs: PairIndex, ledger: LabelLedger, siblings: SiblingLabels,
                 flip_check: FlipCheck, reporter: Reporter) -> None:
        self._job, self._pairs, self._ledger, self._reporter = job, pairs, ledger, reporter
        self._siblings, self._principle = siblings, str(job.settings["principle"])
        self._flip_check = flip_check
        self._recipe = judge_settings(job)
        self._digests: dict[tuple[int, str | None], str] = {}  # of what is in flight
        self._control = ControlFile(folder)
        self._control.look()
        self.settings = self._control.control.applied_to(self._recipe)
        self._reported_at, self._reported_count = time.monotonic(), -1
        self._paused = False

    def requests(self) -> Iterator[PairRequest]:
        statement = self._job.settings["statement"]
        for position, pair in self._pairs.rows(self._ledger.open):
            self._digests[position, self._principle] = pair["digest"]
            item = PairQuestion(pair["prompt"], pair["a"], pair["b"], statement, self._principle)
            for principle in self._siblings.open(position):  # before its own: after a kill the pair is asked again
                self._digests[position, principle] = pair["digest"]
                sibling = item._replace(statement=self._siblings.statements[principle], principle=principle)
                yield PairRequest(position, sibling)
            yield PairRequest(position, item, self._ledger.awaiting_second_order.get(position))

    def answered(self, request: PairRequest, answer: Answer) -> None:
        self._reporter.answer(as_answer(self._digests[request.key, request.item.principle], answer))

    def judged(self, request: PairRequest, verdict: Verdict) -> None:
        principle = request.item.principle or self._principle
        label = as_label(self._digests.pop((request.key, principle)), principle, verdict, self.settings)
        if principle != self._principle:
            self._reporter.sibling_label({**label, "statement": request.item.statement})
            self._siblings.add(request.key, principle)
            return
        self._reporter.label(label)
        self._ledger.add(request.key, label)
        count, total = self._ledger.count, len(self._pairs)
        if count % max(1, total // 50) == 0 or count == total:
            self._report()
        self._flip_check.after_label()
        self._reporter.checkpoint_if_stopped(lambda: None)  # the labels are in the stream already

    def tick(self, pace: RateController) -> None:
        if self._control.look():
            self.settings = self._control.control.applied_to(self._recipe)
            pace.apply(self.settings)
        if self._control.control.paused != self._paused:
            self._paused = pace.paused = self._control.control.paused
            self._reporter.log("paused: nothing more is asked until it is resumed" if self._paused else "resumed")
        if time.monotonic() - self._reported_at > EVERY and self._ledger.count > self._reported_count:
            self._report()
        self._reporter.checkpoint_if_stopped(lambda: None)

    def notice(self, text: str, warn: bool = True) -> None:
        if warn:
            self._reporter.warning("judge", text, self._ledger.count)
        else:
            self._reporter.log(text)

    def _report(self) -> None:
        self._reported_at, self._reported_count = time.monotonic(), self._ledger.count
        values = self._ledger.summary()
        if self._recipe.price_in or self._recipe.price_out:
            values["label/cost"] = self._ledger.spent.money(self._recipe)
        self._reporter.progress(self._ledger.count, len(self._pairs), "label")
        self._reporter.metric(self._ledger.count, values)


def chosen_pairs(job: Job, most: int) -> PairIndex:
    """At most `most` pairs in file order, each once; the same ones for every principle of a run.

    Raises:
        BadData: there are none.
    """
    path = job.files.get("pairs") or job.inputs["sample"] / "pairs.jsonl"
    pairs = PairIndex(path, most, job.settings["seed"])
    if not len(pairs):
        raise BadData("There are no pairs to label.", "Sample more pairs, or choose data with preference pairs.")
    return pairs


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end on uvloop, which takes a third less CPU per question; without it, on asyncio."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


def _check(ledger: LabelLedger, reporter: Reporter) -> None:
    errors = ledger.reasons.total()
    if not errors:
        return
    often = ledger.reasons.most_common(1)[0][0]
    if 2 * errors > ledger.count:
        raise JudgeUnavailable(f"The judge could not label {errors} of {ledger.count} pairs; most often: {often}.",
                               "Try the principle on one pair, choose another judge model, then resume.")
    reporter.warning("label_errors", f"{errors} of {ledger.count} pairs have no label; most often: {often}.")
