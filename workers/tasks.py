"""The Celery tasks: each calls the function that does the work. A repeated task does no harm."""

from __future__ import annotations

from celery.signals import worker_shutting_down

from webapp.celery import app
from workers import devices as devices  # says what this worker computes on
from workers import inference as inference  # its task, workers.chat
from workers import reaping as reaping  # its thread, in every worker


@app.task(name="workers.run_next")
def run_next(queue: str) -> None:
    from workers.supervisor import run_next as run

    run(queue)


@app.task(name="workers.import_dataset")
def import_dataset(dataset_id: int) -> None:
    from webapp.datasets.services import dataset_import

    dataset_import(dataset_id=dataset_id)


@app.task(name="workers.profile_dataset")
def profile_dataset(profile_id: int) -> None:
    from webapp.datasets.profiles import profile_compute

    profile_compute(profile_id=profile_id)


@app.task(name="workers.preview_curation")
def preview_curation(curation_id: int) -> None:
    from webapp.datasets.curations import curation_compute

    curation_compute(curation_id=curation_id)


@app.task(name="workers.compare_wordings")
def compare_wordings(comparison_id: int) -> None:
    from webapp.judges.comparisons import comparison_run

    comparison_run(comparison_id=comparison_id)


@app.task(name="workers.check_calibration")
def check_calibration(check_id: int) -> None:
    from webapp.calibration.services import check_run

    check_run(check_id=check_id)


@app.task(name="workers.bulk_labels")
def bulk_labels(action_id: int) -> None:
    from webapp.labels.bulk import run

    run(action_id=action_id)


@app.task(name="workers.export_model")
def export_model(export_id: int) -> None:
    from workers.exporting import make_export

    make_export(export_id)


@app.task(name="workers.answer_arena")
def answer_arena(arena_id: int) -> None:
    from workers.arena_answers import answer_arena as make

    make(arena_id)


@app.task(name="workers.head_to_head")
def head_to_head(head_to_head_id: int) -> None:
    from webapp.runs.head_to_head.asking import head_to_head_run

    head_to_head_run(head_to_head_id=head_to_head_id)


@app.task(name="workers.front_answers")
def front_answers(front_id: int) -> None:
    from workers.front_answers import answer_front

    answer_front(front_id)


@app.task(name="workers.front_verdicts")
def front_verdicts(front_id: int) -> None:
    from webapp.fronts.judging import front_judge

    front_judge(front_id=front_id)


@worker_shutting_down.connect
def _stop_stages(**_: object) -> None:
    """Stop all stages: they write a checkpoint and are queued again, and then the worker ends."""
    from workers.supervisor import SHUTDOWN

    SHUTDOWN.set()
