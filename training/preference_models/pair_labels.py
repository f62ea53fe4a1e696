"""The labels that a preference model learns from: an annotator's, a rating's, a judge's. Torch-free."""

from __future__ import annotations

from training.data.ratings import probabilities_of
from training.errors import BadData
from training.run.artifacts import Job, read_jsonl


def labels_of(job: Job, name: str) -> dict[str, float]:
    """By pair, the probability that `a` is better on a principle: an annotator's, else the ratings', else the judge's.

    Ratings alone label a principle about which no judge was asked; beside a judge, they label the pairs that it was
    asked about. What an annotator rejected stays without a label.
    """
    # The stage of one principle finds its labels under the role without a suffix.
    role = f":{name}" if "principles" in job.settings else ""
    rated = _rated(job, name)
    if rated and f"label{role}" not in job.inputs:
        return rated
    labels = {}
    for row in read_jsonl(job.files.get(f"labels{role}") or job.inputs[f"label{role}"] / "labels.jsonl"):
        probability = row["probability"] if row.get("corrected") else rated.get(row["pair"], row["probability"])
        if probability is not None:
            labels[row["pair"]] = probability
    return labels


def _rated(job: Job, name: str) -> dict[str, float]:
    """By pair, the probability that its ratings give on a principle; none where the recipe names no aspect for it."""
    aspect = job.settings.get("rated", {}).get(name)
    if aspect is None:
        return {}
    rated = probabilities_of(read_jsonl(job.files["ratings"]), aspect)
    if not rated:
        raise BadData(f"'data.ratings' labels {name} by '{aspect.removeprefix('-')}', and no pair to train on is rated "
                      "on it.", "Choose another aspect, or set 'preference_model.labels_from' to ai.")
    return rated
