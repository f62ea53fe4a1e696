"""No file takes the process that previews it hostage: neither its memory nor its time, whatever a few bytes become."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from training.data.reader_process import preview_in_subprocess, read_rows_in_subprocess
from training.data.rows import Row
from training.errors import BadData

ROOT = Path(__file__).parents[2]
ROW = json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No."}).encode()
MANY = 1_000_000


def packed(piece: bytes, times: int, start: bytes = b"", end: bytes = b"") -> bytes:
    """A gzip of many like pieces, made fast: each is a member of its own."""
    return gzip.compress(start) + gzip.compress(piece) * times + gzip.compress(end)


def parquet(path: Path, **columns: list[object]) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd", dictionary_pagesize_limit=1 << 30)


def arrow(path: Path, prompts: list[object]) -> None:
    table = pyarrow.table({"prompt": prompts})
    with pyarrow.ipc.new_file(path, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)


def zstandard(start: bytes, piece: bytes, times: int) -> bytes:
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(start)
        for _ in range(times):
            stream.write(piece)
    return bytes(out.getvalue())


def archive(name: str, body: bytes, others: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr(name, body)
        for number in range(others):
            made.writestr(f"{number}.jsonl", b"")
    return out.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "newlines.jsonl.gz": lambda: packed(b"\n" * (16 << 20), 48),
    "blanks.csv.gz": lambda: packed(b"\r\n" * (8 << 20), 48, b"prompt\nWhy?\n"),
    "list.json.gz": lambda: packed((ROW + b",\n") * 20_000, 60, b"["),
    "letters.json.gz": lambda: packed(b'"a",\n' * MANY, 15, b"["),
    "open_lists.json.gz": lambda: packed(b"[" * MANY, 60),
    "empty_lists.json.gz": lambda: packed(b"[]" * MANY, 60, b'{"prompt": ['),
    "one_line.jsonl.gz": lambda: packed(b"x" * (32 << 20), 32, b'{"prompt": "'),
    "one_cell.csv.gz": lambda: packed(b"a line of text\n" * MANY, 40, b'prompt\n"'),
    "one_cell_on_a_line.csv.gz": lambda: packed(b"x" * (32 << 20), 20, b'prompt\n"'),
    "deep.jsonl.gz": lambda: packed(b'{"prompt": "Why?", "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"}\n", 50),
    "deep_cell.csv": lambda: b'prompt,chosen,rejected\nWhy?,"[{""a"":' + b"[" * 200_000 + b'",No.\n',
    "columns.csv": lambda: b",".join(b"c%d" % i for i in range(MANY)) + b"\n",
    "columns.jsonl": lambda: b"".join(
        json.dumps({f"c{j}_{i}": 1 for i in range(900)}).encode() + b"\n" for j in range(200)),
    "one_line.jsonl.zst": lambda: zstandard(b'{"prompt": "', b"x" * (32 << 20), 32),
    "one_line.jsonl.xz": lambda: lzma.compress(b'{"prompt": "' + b"x" * (96 << 20), preset=0),
    "one_line.jsonl.zip": lambda: archive("data.jsonl", b'{"prompt": "' + b"x" * (256 << 20)),
    "zeros.parquet.gz": lambda: packed(bytes(16 << 20), 48),
    "many.zip": lambda: archive("data.jsonl", b"{}", others=50_000),
    "completions.jsonl.gz": lambda: packed(json.dumps({"prompt": "w" * 400_000, "responses": [
        str(number) for number in range(50_000)]}).encode() + b"\n", 200),
    "tree.jsonl.gz": lambda: packed(json.dumps({"message_tree_id": "t", "prompt": {
        "text": "w" * 300_000, "role": "prompter", "replies": [{"text": "a", "role": "assistant", "replies": [
            {"text": "b", "role": "prompter", "replies": [{"text": str(n), "role": "assistant"} for n in range(9)]}]}
            for _ in range(300)]}}).encode() + b"\n", 100),
    "digits.jsonl.gz": lambda: packed(b'{"prompt": "Why?", "x": ' + b"9" * 900_000 + b"}\n", 200),
}
PARQUETS: dict[str, Callable[[Path], None]] = {
    "dictionary.parquet": lambda path: parquet(path, prompt=["x" * 3_000_000] * 200),
    "long_cells.parquet": lambda path: parquet(path, prompt=["x" * 60_000_000] * 16),
    "messages.parquet": lambda path: parquet(path, messages=[[{"role": "user", "content": "x" * 3_000_000}]] * 200),
    "cells_below_the_bound.parquet": lambda path: parquet(path, prompt=["x" * 900_000] * 200),
    "long_cells.arrow": lambda path: arrow(path, ["x" * 60_000_000] * 8),
    "cells_below_the_bound.arrow": lambda path: arrow(path, ["x" * 900_000] * 300),
    "columns.parquet": lambda path: parquet(path, **{f"c{i}": [1] for i in range(5000)}),
}
BAR = """
import json, resource, sys, time
from pathlib import Path
from training.data.reader_process import preview_in_subprocess
room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 100_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
for path in map(Path, sys.argv[1:]):
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seen = preview_in_subprocess(path, path.name)
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after))
    print(json.dumps([path.name, seconds, str(seen.problem or ""), len(seen.rows)]))
"""


@pytest.mark.long
def test_no_file_costs_the_previewing_process_100_mb_or_2_seconds(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content())
    for name, write in PARQUETS.items():
        write(tmp_path / name)
    paths = [str(tmp_path / name) for name in (*FILES, *PARQUETS)]

    run = subprocess.run([sys.executable, "-c", BAR, *paths], cwd=ROOT, capture_output=True, text=True, timeout=200,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})

    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [name for name, *_ in answers] == [*FILES, *PARQUETS]
    for name, seconds, problem, rows in answers:
        assert seconds < 2, f"{name} took {seconds:.1f} s"
        assert rows or problem, f"{name} shows nothing and says nothing"
        assert not problem or problem.count(".") >= 2, f"{name} is refused without a way out: {problem}"


def test_what_takes_too_long_is_ended_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import reader_process

    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([ROW] * 200_000))
    monkeypatch.setattr(reader_process, "PREVIEW_CPU", 0.001)

    seen = preview_in_subprocess(path, path.name)

    assert seen.problem and "within the time" in seen.problem.cause and "Split it" in seen.problem.remedy


def test_a_long_list_on_one_line_is_read_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import reader_process

    path = tmp_path / "list.json.gz"
    path.write_bytes(packed((ROW + b", ") * 20_000, 4, b"[", ROW + b"]"))
    monkeypatch.setattr(reader_process, "ROWS_MEMORY", 80_000_000)

    assert sum(isinstance(row, Row) for row in read_rows_in_subprocess(path, path.name)) == 80_001


def test_a_few_bytes_that_become_gigabytes_are_refused_and_repetitive_text_is_not(tmp_path: Path) -> None:
    bomb, honest = tmp_path / "bomb.jsonl.gz", tmp_path / "honest.jsonl.gz"
    bomb.write_bytes(packed((b'{"prompt": "' + b"x" * 10_000 + b'"}\n') * 2_000, 6))
    honest.write_bytes(packed((ROW + b"\n") * 20_000, 1))

    with pytest.raises(BadData, match="the same few bytes over and over"):
        list(read_rows_in_subprocess(bomb, bomb.name))
    assert len(list(read_rows_in_subprocess(honest, honest.name))) == 20_000


@pytest.mark.parametrize("name", ["newlines.jsonl.gz", "dictionary.parquet", "open_lists.json.gz"])
def test_an_import_of_such_a_file_ends_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in PARQUETS:
        PARQUETS[name](path)
    else:
        path.write_bytes(FILES[name]())
    with pytest.raises(BadData):
        list(read_rows_in_subprocess(path, path.name))


def test_a_reader_that_is_not_read_to_its_end_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([ROW] * 50_000))
    rows = read_rows_in_subprocess(path, path.name)
    assert isinstance(next(rows), Row)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

    rows.close()  # type: ignore[attr-defined]

    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert len(left) == len(children) - 1
