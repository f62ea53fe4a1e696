"""Points go into chunks of 512 of which only the last grows; a rewind cuts them off where it should."""

from __future__ import annotations

import math

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from webapp.accounts.models import Team
from webapp.runs.models import Stage
from webapp.runs.series.curves import read_series
from webapp.runs.series.writer import SIZE, SeriesWriter, stored_tag


@pytest.fixture
def stage(team: Team) -> Stage:
    return Stage.objects.create(team=team, identity="i", name="ppo", kind="ppo")


def write(stage: Stage, steps: range, batch: int = 100, tags: tuple[str, ...] = ("loss",)) -> SeriesWriter:
    writer = SeriesWriter(stage)
    for step in steps:
        for tag in tags:
            writer.add(tag, step, float(step), 1000.0 + step)
        if step % batch == 0:
            writer.flush()
    writer.flush()
    return writer


def test_a_long_series_is_read_back_as_it_was_written(stage: Stage) -> None:
    write(stage, range(1, 1301), batch=7)

    assert list(stage.chunks.order_by("index").values_list("index", "n", "first_step", "last_step")) == [
        (0, SIZE, 1, 512), (1, SIZE, 513, 1024), (2, 276, 1025, 1300)]
    series = read_series(stage.pk, "loss")
    assert series.steps.tolist() == list(range(1, 1301)) and series.values.tolist() == [*map(float, range(1, 1301))]
    assert series.times[0] == 1001.0
    first = stage.chunks.get(index=0)
    assert (first.minimum, first.maximum, first.total) == (1.0, 512.0, 512 * 513 / 2)


def test_another_writer_goes_on_where_the_first_one_stopped(stage: Stage) -> None:
    write(stage, range(1, 600))
    write(stage, range(600, 700))
    assert read_series(stage.pk, "loss").steps.tolist() == list(range(1, 700))
    assert stage.chunks.count() == 2


@pytest.mark.parametrize("step", [0, 1, 511, 512, 513, 1100, 1300, 5000])
def test_a_rewind_drops_every_point_after_its_step_and_no_other(stage: Stage, step: int) -> None:
    writer = write(stage, range(1, 1301))

    writer.rewind(step)
    for number in range(step + 1, step + 4):
        writer.add("loss", number, -1.0, 1.0)
    writer.flush()

    series = read_series(stage.pk, "loss")
    last_kept = min(step, 1300)
    assert series.steps.tolist() == [*range(1, last_kept + 1), step + 1, step + 2, step + 3]
    assert series.values.tolist() == [*map(float, range(1, last_kept + 1)), -1.0, -1.0, -1.0]


def test_what_is_no_number_is_kept_in_the_series_and_out_of_its_bounds(stage: Stage) -> None:
    writer = SeriesWriter(stage)
    for step, value in enumerate([1.0, math.nan, math.inf, 3.0]):
        writer.add("loss", step, value, 0.0)
    writer.flush()
    chunk = stage.chunks.get()
    assert (chunk.minimum, chunk.maximum, chunk.total) == (1.0, 3.0, 4.0)
    assert math.isnan(read_series(stage.pk, "loss").values[1])


def test_a_batch_takes_one_query_however_many_series(stage: Stage) -> None:
    writer = write(stage, range(1, 10), tags=tuple(f"tag{number}" for number in range(50)))
    for number in range(50):
        writer.add(f"tag{number}", 10, 1.0, 1.0)
    with CaptureQueriesContext(connection, ) as queries:
        writer.flush()
    assert len(queries) == 1


@pytest.mark.parametrize("late", [0, 3, 511, 513, 700, 1024, 1299])
def test_a_point_that_comes_late_goes_where_it_belongs(stage: Stage, late: int) -> None:
    writer = SeriesWriter(stage)
    for step in range(1, 1301):
        if step != late:
            writer.add("loss", step, float(step), 1000.0 + step)
    writer.add("loss", late, -7.0, 3000.0)
    writer.add("loss", 1301, 1301.0, 2301.0)
    writer.flush()
    series = read_series(stage.pk, "loss")
    steps = sorted({*range(1, 1302), late})
    assert series.steps.tolist() == steps
    assert series.values.tolist() == [-7.0 if step == late else float(step) for step in steps]
    assert writer.late_points == 1
    assert stage.chunks.get(index=0).minimum <= 1.0


@pytest.mark.parametrize("again", [1, 512, 513, 1300])
def test_a_step_that_comes_again_replaces_its_value_wherever_it_is(stage: Stage, again: int) -> None:
    writer = write(stage, range(1, 1301))
    writer.add("loss", again, -7.0, 3000.0)
    writer.flush()
    series = read_series(stage.pk, "loss")
    assert series.steps.tolist() == list(range(1, 1301))
    assert series.values[again - 1] == -7.0 and (series.values == -7.0).sum() == 1
    assert writer.late_points == 0


def test_long_tags_are_series_of_their_own(stage: Stage) -> None:
    """Two principles of 64 characters each, and names that no recipe allows."""
    pair = f"conflict/{'a' * 64}~{'b' * 63}"
    tags = [f"{pair}1", f"{pair}2", "x" * 255, "x" * 256, "x" * 300 + "1", "x" * 300 + "2"]
    for tag in tags:
        write(stage, range(1, 5), tags=(tag,))
    write(stage, range(5, 8), tags=("x" * 300 + "1",))
    assert {stored_tag(tag) for tag in tags} == set(stage.chunks.values_list("tag", flat=True))
    assert len({stored_tag(tag) for tag in tags}) == len(tags) and f"{pair}1" in {stored_tag(tag) for tag in tags}
    assert read_series(stage.pk, stored_tag("x" * 300 + "1")).steps.tolist() == list(range(1, 8))
