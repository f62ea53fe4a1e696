"""Keeping runs in order: names, notes and tags, the archive, and deleting a run with what no other run stands on.

Labels are the team's and stay, whatever run bought them: they are what costs money. What goes with a run are its
stages that no other run uses, with their files, curves and exports.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from training.errors import BadSettings
from training.run.artifacts import digest_of
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunStage, RunTag, Stage

MOST_TAGS = 20


class Footprint(NamedTuple):
    """What a run takes on the disk.

    Attributes:
        own: bytes of the stages that no other run uses, which go with it.
        shared: bytes of the stages that other runs use as well.
        own_stages, shared_stages: how many they are.
    """

    own: int
    shared: int
    own_stages: int
    shared_stages: int


@transaction.atomic
def run_describe(*, run: Run, name: str, note: str, tags: Sequence[str]) -> None:
    """Change a run's name, note and tags; its recipe, and what it made, keep the name that it was started with.

    Raises:
        BadSettings: the name is empty, or something is too long.
    """
    name, note = name.strip(), note.strip()
    chosen = list(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip()))
    if not name or len(name) > 200:
        raise BadSettings(f"The name has {len(name)} characters.", "Give one of 1 to 200.")
    if len(note) > 2000:
        raise BadSettings(f"The note has {len(note):,} characters.", "Shorten it to 2,000.")
    if len(chosen) > MOST_TAGS or any(len(tag) > 40 for tag in chosen):
        raise BadSettings(f"These are {len(chosen)} tags, the longest of {max(map(len, chosen))} characters.",
                          f"Give at most {MOST_TAGS} tags of at most 40 characters.")
    Run.objects.filter(pk=run.pk).update(name=name, note=note)
    RunTag.objects.filter(run=run).exclude(name__in=chosen).delete()
    RunTag.objects.bulk_create([RunTag(run=run, name=tag) for tag in chosen], ignore_conflicts=True)


def run_archive(*, run: Run, archived: bool) -> None:
    """Take a run out of the list, or back into it.

    Raises:
        BadSettings: it is under way.
    """
    if not Run.objects.filter(pk=run.pk).exclude(status=Run.Status.RUNNING).update(archived=archived):
        raise BadSettings("The run is under way.", "Cancel it first, or wait until it is done.")


@transaction.atomic
def run_delete(*, run: Run) -> Footprint:
    """Delete a run with its own stages; their files go once that is certain. Returns what went and what stayed.

    Raises:
        BadSettings: it is under way, or one of its stages still is.
    """
    locked = Run.objects.select_for_update().get(pk=run.pk)
    stages = list(Stage.objects.select_for_update().filter(uses__run=run).order_by("pk"))
    others = set(RunStage.objects.filter(stage__in=stages).exclude(run=run).values_list("stage_id", flat=True))
    own = [stage for stage in stages if stage.pk not in others]
    if locked.status == Run.Status.RUNNING or any(stage.status == Stage.Status.RUNNING for stage in own):
        raise BadSettings("The run is under way, or is still stopping.", "Cancel it, and wait until it has stopped.")
    freed = footprint(run)
    folders = [folder for stage in own for folder in _folders(stage)]
    if (data := _data_folder(locked)) is not None:
        folders.append(data)
    RunStage.objects.filter(run=run).delete()
    Stage.objects.filter(pk__in=[stage.pk for stage in own]).delete()
    locked.delete()
    transaction.on_commit(lambda: _remove(folders))
    return freed


def footprint(run: Run) -> Footprint:
    return footprints([run])[run.pk]


def footprints(runs: Sequence[Run]) -> dict[int, Footprint]:
    """What each run takes; two queries, and a look at the folders of their stages."""
    uses = list(RunStage.objects.filter(run__in=runs).select_related("stage").only(
        "run_id", "stage__id", "stage__team_id", "stage__identity"))
    users = dict(RunStage.objects.filter(stage__in={use.stage_id for use in uses}).values_list("stage").annotate(
        Count("run")))
    sizes = {use.stage_id: sum(map(_size, _folders(use.stage))) for use in uses}
    result = {}
    for run in runs:
        own = [use.stage_id for use in uses if use.run_id == run.pk and users[use.stage_id] == 1]
        shared = [use.stage_id for use in uses if use.run_id == run.pk and users[use.stage_id] > 1]
        result[run.pk] = Footprint(sum(sizes[pk] for pk in own), sum(sizes[pk] for pk in shared), len(own), len(shared))
    return result


def tags_of(team: Team) -> list[str]:
    """All tags of a team, by name."""
    return list(RunTag.objects.filter(run__team=team).order_by("name").values_list("name", flat=True).distinct())


def _folders(stage: Stage) -> list[Path]:
    """Where a stage's files are, and those of its export."""
    return [stage.folder, settings.ARTIFACTS / str(stage.team_id) / "exports" / stage.identity]


def _data_folder(run: Run) -> Path | None:
    """The run's data files, where no other run reads the same ones."""
    if Run.objects.of(run.team).filter(file_digests=run.file_digests).exclude(pk=run.pk).exists():
        return None
    return settings.ARTIFACTS / str(run.team_id) / "data" / digest_of(dict(run.file_digests))[:32]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
