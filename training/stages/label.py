"""Label pairs by one principle: ask the judge which response serves it better, keep the probability.

MORLAIF (arXiv 2406.07295) keeps the harder letter of one order; here both orders are asked and the mean is a soft
label. A label is reported the moment it is there, before the next one is paid for, and none is bought twice: those of
`known_labels` and of an earlier attempt of this stage are taken as they are. Torch-free.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from training.artifacts import Job, digest_of, read_jsonl, write_jsonl
from training.errors import BadData, JudgeUnavailable
from training.feedback.judges import Comparison, Verdict, as_label, judge_settings, make_judge
from training.reporting import Reporter


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write labels.jsonl: a row a pair, errors included, in the order of the pairs.

    Raises:
        BadData: no pairs.
        JudgeUnavailable: the judge is out of reach, or could not label more than half of the pairs.
    """
    settings = judge_settings(job)
    principle, statement = job.settings["principle"], job.settings["statement"]
    pairs = chosen_pairs(job, settings.max_pairs)
    labels = _known(job, folder, principle, {pair["digest"] for pair in pairs})
    missing = [pair for pair in pairs if pair["digest"] not in labels]
    reporter.log(f"{len(pairs)} pairs to label for {principle}, {len(labels)} of them labelled before")
    if labels:
        reporter.rewind(len(labels))  # pairs that failed in an earlier attempt are counted again

    def on_verdict(index: int, verdict: Verdict) -> None:
        label = as_label(missing[index]["digest"], principle, verdict, settings)
        labels[label["pair"]] = label
        reporter.label(label)
        if len(labels) % max(1, len(pairs) // 50) == 0 or len(labels) == len(pairs):
            reporter.progress(len(labels), len(pairs), "label")
            reporter.metric(len(labels), summary(list(labels.values())))
        reporter.checkpoint_if_stopped(lambda: None)  # labels are in the stream already

    items = [Comparison(pair["prompt"], pair["a"], pair["b"], statement, principle) for pair in missing]
    if items:
        asyncio.run(make_judge(settings).compare(items, on_verdict))
    _check(list(labels.values()), reporter)
    write_jsonl(folder / "labels.jsonl", (labels[pair["digest"]] for pair in pairs))
    reporter.progress(len(pairs), len(pairs), "label")
    reporter.artifact("labels", "labels.jsonl")


def chosen_pairs(job: Job, most: int) -> list[dict[str, Any]]:
    """At most `most` pairs in file order, each once; the same ones for every principle of a run.

    Raises:
        BadData: there are none.
    """
    path = job.files.get("pairs") or job.inputs["sample"] / "pairs.jsonl"
    pairs = {pair["digest"]: pair for pair in read_jsonl(path) if pair["a"] != pair["b"]}
    if not pairs:
        raise BadData("There are no pairs to label.", "Sample more pairs, or choose data with preference pairs.")
    drawn = set(sorted(pairs, key=lambda digest: digest_of([job.settings["seed"], digest]))[:most])
    return [pair for digest, pair in pairs.items() if digest in drawn]


def _known(job: Job, folder: Path, principle: str, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Labels that need not be asked for again, by pair. Errors are no labels: those pairs are asked again."""
    rows = list(read_jsonl(job.files["known_labels"])) if "known_labels" in job.files else []
    if (folder / "events.jsonl").is_file():
        events = (event for event in read_jsonl(folder / "events.jsonl") if event["kind"] == "label")
        rows += [{key: value for key, value in event.items() if key not in ("seq", "time", "kind")} for event in events]
    return {row["pair"]: row for row in rows
            if row["principle"] == principle and row["pair"] in wanted and row["probability"] is not None}


def summary(labels: list[dict[str, Any]]) -> dict[str, float]:
    """`label/done`, the mean `label/confidence` max(p, 1 - p), and the `label/flip_rate`: orders that disagree."""
    good = [label for label in labels if label["probability"] is not None]
    both = [label for label in good if label["p_swapped"] is not None]
    values = {"label/done": float(len(labels))}
    if good:
        sure = sum(max(label["probability"], 1 - label["probability"]) for label in good)
        values["label/confidence"] = sure / len(good)
    if both:
        flips = sum((label["p_shown"] - 0.5) * (label["p_swapped"] - 0.5) < 0 for label in both)
        values["label/flip_rate"] = flips / len(both)
    return values


def _check(labels: list[dict[str, Any]], reporter: Reporter) -> None:
    errors = [label["error"] for label in labels if label["probability"] is None]
    if not errors:
        return
    often = max(sorted(set(errors)), key=errors.count)
    if 2 * len(errors) > len(labels):
        raise JudgeUnavailable(f"The judge could not label {len(errors)} of {len(labels)} pairs; most often: {often}.",
                               "Try the principle on one pair, choose another judge model, then resume.")
    reporter.warning("label_errors", f"{len(errors)} of {len(labels)} pairs have no label; most often: {often}.")
