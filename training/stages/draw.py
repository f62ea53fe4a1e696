"""Draw the labels of a baseline: one label per pair out of those that each principle has. Torch-free.

The pairs and labels are those of the multi-objective run, and no judge is asked. Labels that people changed
come in `files["labels:<principle>"]` and win. See `training.run.baselines` for the draw and for why it is fair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.errors import BadData
from training.run.artifacts import Job, read_jsonl, write_jsonl
from training.run.baselines import drawn_label, drawn_shares, pooled_label
from training.run.reporting import Reporter


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write labels.jsonl: one row per pair, in the order of the pairs, `principle` naming the one drawn.

    Raises:
        BadData: no pair has a label.
    """
    shares: dict[str, float] = job.settings["shares"]
    by_pair: dict[str, dict[str, dict[str, Any]]] = {}
    for name in shares:
        path = job.files.get(f"labels:{name}") or job.inputs[f"label:{name}"] / "labels.jsonl"
        for row in read_jsonl(path):
            by_pair.setdefault(row["pair"], {})[name] = row
    if job.settings["baseline"] == "pooled_pm":
        drawn_labels = [pooled_label(pair, rows, shares) for pair, rows in by_pair.items()]
    else:
        drawn_labels = [drawn_label(pair, rows, shares, job.settings["seed"]) for pair, rows in by_pair.items()]
    labels = [row for row in drawn_labels if row is not None]
    if not labels:
        raise BadData("No pair has a label to draw from.", "Look at the labels of the principles, then run them again.")
    write_jsonl(folder / "labels.jsonl", labels)
    reporter.progress(len(labels), len(by_pair), "label")
    reporter.metric(1, {f"draw/{name}": share for name, share in drawn_shares(labels).items()})
    reporter.artifact("labels", "labels.jsonl")
