"""A curve that grew while the page was open is the curve that a reload shows: the page's store against the server's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from webapp.runs.series.curves import Series, Window, chart_series, listed, seconds

pytestmark = [pytest.mark.e2e, pytest.mark.once]

GROWN = """async ([first, parts, options]) => {
  const { Store } = await import("/static/js/run-store.js");
  const { toPoints } = await import("/static/js/messages.js");
  const stages = [{ id: 1, rewinds: 0, log: 0, sample: 0 }];
  const store = new Store({ stages, series: [[1, "loss", first.last_step]] });
  const snapshot = { stages: { 1: 0 }, series: [{ stage: 1, tag: "loss", ...first }] };
  store.expect(["loss"]);
  for (const points of parts.early) store.append(toPoints(points), options);  // while the snapshot is on its way
  const loaded = store.load(snapshot, ["loss"], options);
  for (const points of parts.late) store.append(toPoints(points), options);
  return [loaded, store.tagged(["loss"])[0].columns];
}"""
VALUES = [1.0, float("nan"), 3.0, float("nan"), float("nan"), 2.0, float("inf"), 5.0, -4.0, 0.5]
TIMES = [100.0, 101.0, 103.5, 90.0, 95.0, 104.0, 104.0, 99.0, 110.0, 111.0]


def grown(page: Page, axis: str, weight: float, known: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The page's columns after the first points came as a snapshot and the others live; the server's of all points."""
    steps = np.arange(len(VALUES)) * 3
    series = Series(steps, np.array(VALUES), np.array(TIMES))
    window = Window(800, weight=weight, axis="time" if axis == "time" else "step")
    points = [[1, "loss", int(steps[i - 1]) if i else None, [int(steps[i])], listed(series.values[i:i + 1]),
               seconds(series.times[i:i + 1])] for i in range(known, len(steps))]
    page.goto("/runs/")
    loaded, columns = page.evaluate(GROWN, [
        chart_series(Series(*(column[:known] for column in series)), window),
        {"early": points[:2], "late": points[2:]}, {"axis": axis, "weight": weight, "frozen": False}])
    assert loaded
    return columns, chart_series(series, window)


@pytest.mark.parametrize("known", [1, 2, 5])
@pytest.mark.parametrize("weight", [0.0, 0.6, 0.99])
@pytest.mark.parametrize("axis", ["step", "time"])
def test_what_grew_is_what_a_reload_shows(page: Page, axis: str, weight: float, known: int) -> None:
    live, reloaded = grown(page, axis, weight, known)
    for name in ("x", "last", "n", *(["smooth", "mass"] if weight else [])):
        expected = reloaded[name] if isinstance(reloaded[name], list) else [reloaded[name]]
        columns = live[name] if isinstance(live[name], list) else [live[name]]
        assert [value is None for value in columns] == [value is None for value in expected], name
        assert [value or 0 for value in columns] == pytest.approx([value or 0 for value in expected], rel=1e-5), name
