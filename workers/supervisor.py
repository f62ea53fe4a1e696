"""Runs one stage: claims it, starts its process, follows its report stream, and records how it ended.

The stage itself is independent of this: it reads and writes files, and stops when asked. After a crash of a worker or a
stage, the next claim continues from the last checkpoint and the last recorded event.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
import traceback
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from training.errors import TrainingError
from training.run.artifacts import read_json
from training.run.jobs import DONE, FAILED, LOCKED, STOPPED
from training.run.pipeline import needs_torch
from training.text import storable
from webapp.runs.live.notifications import notify_run_changed
from webapp.runs.models import RunStage, Stage
from webapp.runs.scheduling import advance_users, enqueue
from workers import devices, processes
from workers.labels import record_pairs_file
from workers.leases import DB_DOWN, HOST, Lease, claim_next, retry_while_db_is_down
from workers.pacing import Pacing
from workers.preparing import Prepared, prepare
from workers.recording import LeaseLost, Recorder

TICK = 0.05  # seconds between two reads of the stream
# A stream of labels is recorded in larger batches: whatever is in it, a batch costs as much as a hundred labels.
LABELS_TICK = 0.25
LOCKED_FOR = timedelta(seconds=5)  # until a stage is taken again whose folder an earlier process still holds
GRACE = 20.0  # seconds a stage has to write its checkpoint before it is killed
MOST_CRASHES = 3
SUMMARIES = ("summary.json", "weights.json", "card.json", "report.json")

# Set when this worker is asked to end: its stages stop at their next checkpoint and are queued for the next worker.
SHUTDOWN = threading.Event()

S = Stage.Status
logger = logging.getLogger("concord.workers")


def run_next(queue: str, shutdown: threading.Event = SHUTDOWN) -> None:
    """Run the first queued stage of a queue to its end. Does nothing if there is none for this worker."""
    stage = claim_next(queue)
    if stage is not None:
        run_stage(stage, shutdown)


def run_stage(stage: Stage, shutdown: threading.Event = SHUTDOWN) -> None:
    """Run a claimed stage to its end."""
    _notify(stage)
    if stage.queue == Stage.Queue.GPU:
        devices.report()
    with Lease(stage) as lease:
        try:
            _Attempt(stage, lease, shutdown).run()
        except LeaseLost:
            logger.warning("%s now belongs to another worker", stage)


class _Attempt:
    """One attempt at a claimed stage."""

    def __init__(self, stage: Stage, lease: Lease, shutdown: threading.Event) -> None:
        self.stage, self.lease, self.shutdown = stage, lease, shutdown
        self.told_to_stop = False
        self.pacing = Pacing(stage)

    def run(self) -> None:
        try:
            self._run()
        except (LeaseLost, *DB_DOWN):
            raise
        except TrainingError as error:  # from preparing: the data does not fit
            self._fail(error.kind, error.cause, error.remedy)
        except Exception as error:  # unexpected errors are recorded like any other failure
            if self.lease.lost.is_set():
                raise LeaseLost from error
            logger.exception("the supervisor of %s failed", self.stage)
            self._fail("bug", f"The stage could not be run: {type(error).__name__}: {error}.",
                       "Try to resume. If it fails again, report this error with the details below.",
                       traceback.format_exc())

    def _run(self) -> None:
        stage = self.stage
        if stage.host in {"", HOST}:
            processes.kill_leftover(stage.pid, stage.folder)
        prepared = retry_while_db_is_down(lambda: prepare(stage), self._should_give_up)
        if prepared is None:
            return self._settle(status=S.WAITING)
        if self.shutdown.is_set():
            return self._requeue()
        retry_while_db_is_down(self._forget_a_lost_stream, self._should_give_up)
        retry_while_db_is_down(self.pacing.look, self._should_give_up)
        code = self._supervise(prepared)
        retry_while_db_is_down(lambda: self._finish(code), self._should_give_up)

    def _should_give_up(self) -> bool:
        """Whether to stop waiting for the database: the lease then expires, and `reap` queues the stage."""
        return self.lease.lost.is_set() or self.shutdown.is_set()

    def _forget_a_lost_stream(self) -> None:
        """If the stage's folder was deleted, delete what was recorded of its old stream, and start over."""
        path = self.stage.folder / "events.jsonl"
        size = path.stat().st_size if path.is_file() else 0
        if size < self.stage.events_offset:
            with transaction.atomic():
                if not self.lease.write(events_offset=0, events_seq=0, last_step=0, rewinds=self.stage.rewinds + 1):
                    raise LeaseLost
                self.stage.chunks.all().delete()
                self.stage.samples.all().delete()
                self.stage.log.all().delete()
            self.stage.refresh_from_db()

    def _supervise(self, prepared: Prepared) -> int:
        """Start the process and follow it to its end. Raises LeaseLost after ending the process."""
        stage_environment = processes.environment(prepared.key_variable, prepared.saved_key)
        command = prepared.command
        if needs_torch(self.stage.kind, self.stage.settings):
            command = processes.forked(command)
        process = processes.start(command, self.stage.folder, stage_environment)
        try:
            if not retry_while_db_is_down(lambda: self.lease.write(host=HOST, pid=process.pid), self._should_give_up):
                raise LeaseLost
            code = self._follow(process, Recorder(self.stage, self.lease.token, prepared.pairs))
            logger.info("%s ended with code %s", self.stage, code)
            return code
        finally:
            processes.end(process, self.stage.folder)

    def _follow(self, process: subprocess.Popen[bytes], recorder: Recorder) -> int:
        kill_at = float("inf")
        rest = LABELS_TICK if self.stage.kind == "label" else 0.0
        while True:
            code = process.poll()
            try:
                more = recorder.record_new()
                self.pacing.look()
            except DB_DOWN as error:
                connection.close()
                if code is not None and self._should_give_up():
                    raise
                logger.warning("cannot record %s until the database is back: %s", self.stage, error)
                more = True
                time.sleep(0.5)
            if code is not None and not more:
                return code
            if self.lease.lost.is_set():
                raise LeaseLost
            if not self.told_to_stop and (self.lease.stop.is_set() or self.shutdown.is_set()):
                self.told_to_stop = True
                processes.signal_group(process, signal.SIGTERM)
                kill_at = time.monotonic() + GRACE
            if time.monotonic() > kill_at:
                processes.signal_group(process, signal.SIGKILL)
            if code is None and (rest or not more):
                time.sleep(rest or TICK)

    def _finish(self, code: int) -> None:
        """Set the stage's status from the end of its process."""
        if code == DONE:
            if self.stage.kind == "sample":
                record_pairs_file(self.stage, self.stage.folder / "pairs.jsonl")
            return self._settle(status=S.SUCCEEDED, summary=_summary(self.stage), finished_at=timezone.now(), crashes=0)
        if code == FAILED and (self.stage.folder / "failure.json").is_file():
            failure = read_json(self.stage.folder / "failure.json")
            return self._fail(failure["kind"], failure["cause"], failure["remedy"], failure.get("details", ""))
        if self.told_to_stop:
            # If a run was resumed in the meantime, advancing it below queues the stopped stage.
            return self._requeue() if self.shutdown.is_set() else self._settle(status=S.STOPPED)
        if code == LOCKED:  # an earlier process still holds the folder; meanwhile others go first
            return self._requeue(locked_until=timezone.now() + LOCKED_FOR)
        return self._crashed(code)

    def _crashed(self, code: int) -> None:
        """The process was killed or crashed: queue the stage again, or let it fail after several crashes."""
        crashes = self.stage.crashes + 1
        if code == STOPPED:
            cause = "The process was stopped from outside Concord."
        elif code < 0:
            cause = (f"The system killed the process ({signal.Signals(-code).name}), most likely because "
                     "memory ran out.")
        else:
            cause = f"The process ended with code {code} and gave no reason."
        if crashes < MOST_CRASHES:
            return self._requeue(crashes=crashes)
        remedy = ("Lower the batch size or use a smaller model, then resume: it continues from its last checkpoint."
                  if code < 0 else "Read the last lines of its output below, then resume.")
        log = processes.last_lines(self.stage.folder / "output.log")
        return self._fail("killed", f"{cause} It was started {crashes} times.", remedy, log, crashes=crashes)

    def _requeue(self, **changes: Any) -> None:
        self._settle(status=S.QUEUED, queued_at=timezone.now(), **changes)

    def _fail(self, kind: str, cause: str, remedy: str, details: str = "", **changes: Any) -> None:
        """Record a failure. Characters that a database cannot store are replaced in its texts."""
        self._settle(status=S.FAILED, failure_kind=storable(kind)[:40], cause=storable(cause), remedy=storable(remedy),
                     details=storable(details)[-20_000:], finished_at=timezone.now(), **changes)

    def _settle(self, **changes: Any) -> None:
        """Release the stage with a new status, and advance its runs."""
        with transaction.atomic():
            if not self.lease.release(**changes):
                raise LeaseLost
            if changes["status"] == S.QUEUED:
                enqueue(self.stage)
        advance_users(self.stage)
        _notify(self.stage)


def _notify(stage: Stage) -> None:
    runs = RunStage.objects.filter(stage=stage).values_list("run_id", flat=True)
    notify_run_changed(runs=list(runs), team=stage.team_id)


def _summary(stage: Stage) -> dict[str, Any]:
    """The stage's small results that pages show."""
    summary: dict[str, Any] = {}
    for name in SUMMARIES:
        if (stage.folder / name).is_file():
            value = read_json(stage.folder / name)
            summary |= value if isinstance(value, dict) else {name.removesuffix(".json"): value}
    return summary
