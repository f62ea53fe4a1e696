"""Rules that make a new version: drop repeated rows, drop rows by what they hold, draw a sample, add another dataset.

A rule is JSON with a `kind`. Every rule gives the same rows at every call, so its preview tells what its version has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal, TypedDict

from training.data.lengths import Lengths
from training.data.near_duplicates import THRESHOLD, NearDuplicates, signature_of
from training.data.profile import is_empty, is_equal, row_digest, text_of_prompt
from training.data.rows import Row
from training.run.artifacts import digest_of
from webapp.datasets.computing import lengths_in, unit_title
from webapp.datasets.models import Curation, Dataset, RowWords
from webapp.datasets.profiles import batches
from webapp.datasets.searching import containing, query_words
from webapp.datasets.versions import rows_of

SAME = {"rows": "equal rows: prompt, responses and ratings", "prompts": "rows with an equal prompt",
        "near": f"rows with a nearly equal prompt (similarity of {THRESHOLD} or more)"}


class Rule(TypedDict, total=False):
    """What a curation does. Only the settings of its kind are there."""

    kind: Literal["deduplicate", "filter", "sample", "merge"]
    same: str  # deduplicate: a key of SAME
    empty: bool  # filter: drop rows with a response that is empty
    equal: bool  # filter: drop rows whose responses are equal
    prompt_longer: int | None  # filter: drop rows whose prompt is longer
    response_longer: int | None  # filter: drop rows with a longer response
    search: str  # filter: drop rows with these words
    keep_found: bool  # filter: drop rows without them instead
    rows: int  # sample
    seed: int  # sample


def excluded_rows(curation: Curation, heartbeat: Callable[[], None]) -> list[int]:
    """The numbers of the rows that a curation drops, in order.

    Raises:
        ModelUnavailable: the model whose tokens are counted is gone.
    """
    rule: Rule = curation.rule
    dataset = curation.base
    if rule["kind"] == "merge":
        return []
    if rule["kind"] == "sample":
        numbers = list(dataset.rows.order_by("number").values_list("number", flat=True))
        return sorted(set(numbers) - set(sample_of(numbers, rule["rows"], rule["seed"])))
    rows = rows_of(dataset, heartbeat)
    if rule["kind"] == "deduplicate":
        return _repeats(rows, rule["same"])
    return _filtered(dataset, rows, rule, lengths_in(curation.unit))


def sample_of(numbers: Iterable[int], count: int, seed: int) -> list[int]:
    """`count` of the numbers: those of smallest hash with the seed, so that a larger sample holds a smaller one."""
    return sorted(numbers, key=lambda number: hashlib.sha256(f"{seed}:{number}".encode()).digest())[:count]


def _repeats(rows: Iterable[tuple[int, Row]], same: str) -> list[int]:
    """Rows after the first that are the same. Of nearly equal prompts, all rows of the later ones; rows with an equal
    prompt stay, as they hold other responses."""
    if same == "near":
        return _near_repeats(rows)
    seen: set[bytes] = set()
    repeats = []
    for number, row in rows:
        digest = row_digest(row if same == "rows" else Row(row.prompt))
        if digest in seen:
            repeats.append(number)
        seen.add(digest)
    return repeats


def _near_repeats(rows: Iterable[tuple[int, Row]]) -> list[int]:
    prompts: dict[str, int] = {}
    signatures = bytearray()
    prompt_of_row = []
    for number, row in rows:
        digest = digest_of(row.prompt)
        if digest not in prompts:
            prompts[digest] = len(prompts)
            signatures += signature_of(row.prompt).tobytes()
        prompt_of_row.append((number, prompts[digest]))
    dropped = {prompt for prompt, _, _ in NearDuplicates(signatures).repeats()}
    return [number for number, prompt in prompt_of_row if prompt in dropped]


def _filtered(dataset: Dataset, rows: Iterable[tuple[int, Row]], rule: Rule, lengths: Lengths) -> list[int]:
    words = query_words(rule.get("search", ""))
    matching = RowWords.objects.filter(containing(words), dataset=dataset) if words else RowWords.objects.none()
    matching_numbers = set(matching.values_list("number", flat=True))
    expected = dataset.responses_expected
    excluded = []
    for batch in batches(rows):
        too_long = _too_long([row for _, row in batch], rule, lengths)
        for (number, row), is_too_long in zip(batch, too_long, strict=True):
            if (is_too_long or (rule.get("empty") and is_empty(row, expected)) or (rule.get("equal") and is_equal(row))
                    or (words and (number in matching_numbers) != bool(rule.get("keep_found")))):
                excluded.append(number)
    return excluded


def _too_long(rows: list[Row], rule: Rule, lengths: Lengths) -> list[bool]:
    too_long = [False] * len(rows)
    parts: tuple[tuple[int | None, list[str]], ...] = (
        (rule.get("prompt_longer"), [text_of_prompt(row.prompt) for row in rows]),
        (rule.get("response_longer"), [row.chosen or "" for row in rows]),
        (rule.get("response_longer"), [row.rejected or "" for row in rows]))
    for most, texts in parts:
        if most is not None:
            too_long = [before or length > most for before, length in zip(too_long, lengths(texts), strict=True)]
    return too_long


def sentence_of(curation: Curation, dropped: int) -> str:
    """What is done to the rows: '12 rows that repeat an earlier prompt dropped'."""
    rule: Rule = curation.rule
    rows = f"{dropped:,} row{'' if dropped == 1 else 's'}"
    if rule["kind"] == "merge":
        merged = curation.merged
        if merged is None:
            return "rows of a dataset that is gone added"
        return f"{merged.rows_good:,} row{'' if merged.rows_good == 1 else 's'} of “{merged.title}” added"
    if rule["kind"] == "sample":
        rows_left = curation.base.rows_good - dropped
        return f"{rows_left:,} row{'' if rows_left == 1 else 's'} drawn with seed {rule['seed']}"
    if rule["kind"] == "deduplicate":
        return f"{rows} dropped that repeat an earlier one: {SAME[rule['same']]}"
    return f"{rows} dropped: {', or '.join(_reasons(rule, unit_title(curation.unit)))}"


def _reasons(rule: Rule, unit: str) -> list[str]:
    reasons = []
    if rule.get("empty"):
        reasons.append("an empty response")
    if rule.get("equal"):
        reasons.append("equal responses")
    if rule.get("prompt_longer") is not None:
        reasons.append(f"a prompt of more than {rule['prompt_longer']:,} {unit}")
    if rule.get("response_longer") is not None:
        reasons.append(f"a response of more than {rule['response_longer']:,} {unit}")
    if rule.get("search"):
        reasons.append(f"{'without' if rule.get('keep_found') else 'with'} the words “{rule['search']}”")
    return reasons
