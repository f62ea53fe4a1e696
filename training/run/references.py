"""The reference answers of a run: what its data says is the right answer to a prompt. Torch-free.

They are in a file of their own, which only the stages read that measure by it: the same prompts with other answers have
the same samples and the same labels of judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from training.dialogue import Dialogue
from training.measures import ReferenceOf, no_reference
from training.run.artifacts import Job, digest_of, read_jsonl


class References:
    """The reference answers of a run's prompts, found by the digest of a prompt: a `ReferenceOf`.

    Args:
        rows: of `references.jsonl`: {"prompt": digest, "reference": text}.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._by_digest: dict[str, str] = {row["prompt"]: row["reference"] for row in rows}

    def __call__(self, prompt: Dialogue) -> str | None:
        return self._by_digest.get(digest_of(prompt))


def references_of(job: Job) -> ReferenceOf:
    """The reference answers that a stage reads; none where its measures need none."""
    path = job.files.get("references")
    return References(read_jsonl(path)) if path is not None else no_reference
