"""Files of a stage: whole or not there, and with every text in them that a machine may write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from training.run.artifacts import read_jsonl, write_jsonl, write_pieces


def test_half_a_character_in_a_row_is_replaced(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"text": "cut \ud83d", "\udc00": 1}, {"text": "whole 😀"}])

    assert list(read_jsonl(tmp_path / "rows.jsonl")) == [{"text": "cut \ufffd", "\ufffd": 1}, {"text": "whole 😀"}]


def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "new"
        raise KeyError("row 2")
    write_pieces(tmp_path / "rows.jsonl", ["old"])

    with pytest.raises(KeyError):
        write_pieces(tmp_path / "rows.jsonl", pieces())

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
