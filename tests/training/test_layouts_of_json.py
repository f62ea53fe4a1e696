"""JSON in every layout that tools write: the same rows, or a message that names the layout and the way out."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from training.data.reading import BadRow, Row, preview, read_rows
from training.data.records.cells import MAX_DEPTH, parse_json
from training.data.records.json_rows import Splitter
from training.errors import BadData

PAIRS = [{"prompt": f"Who is {n}? \"[{{,", "chosen": f"The {n} \\ é 😀", "rejected": "Nobody]}"} for n in range(3)]
ROWS = [Row([{"role": "user", "content": str(pair["prompt"])}], str(pair["chosen"]), str(pair["rejected"]))
        for pair in PAIRS]


def read(content: bytes | str, name: str = "data.json", **options: Any) -> list[Row | BadRow]:
    body = content.encode() if isinstance(content, str) else content
    return list(read_rows(io.BytesIO(body), name, **options))


LAYOUTS = {
    "a row per line": "\n".join(map(json.dumps, PAIRS)),
    "a row per line, blank lines between": "\n\n \n".join(map(json.dumps, PAIRS)) + "\n\n",
    "a row per line, as Windows ends it": "\r\n".join(map(json.dumps, PAIRS)),
    "a row per line, as old Macs end it": "\r".join(map(json.dumps, PAIRS)),
    "a list on one line": json.dumps(PAIRS),
    "a list with line breaks": json.dumps(PAIRS, indent=2),
    "a list without ASCII": json.dumps(PAIRS, ensure_ascii=False),
    "a list with a comma too many": json.dumps(PAIRS)[:-1] + ",\n]",
    "a list after blank lines": "\n \n" + json.dumps(PAIRS),
    "an object around the list": json.dumps({"data": PAIRS}),
    "an object around the list, indented": json.dumps({"version": "1.0", "rows": PAIRS}, indent=1),
    "an object around the list, a row per line": '{"info": {"n": [1, 2]}, "data": [\n' + ",\n".join(
        map(json.dumps, PAIRS)) + "\n]}",
    "something after the list": json.dumps({"examples": PAIRS, "license": ["MIT"], "n": 3}, indent=1),
    "indented objects one after another": "\n".join(json.dumps(pair, indent=2) for pair in PAIRS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_layout_gives_the_same_rows(layout: str, encoding: str) -> None:
    content = LAYOUTS[layout].encode(encoding)
    assert read(content) == ROWS
    assert read(gzip.compress(content), "data.jsonl.gz") == ROWS
    assert preview(io.BytesIO(content), "data.json")[2] == ROWS


def test_a_long_list_on_one_line_is_read_to_its_end() -> None:
    many = [{"prompt": f"Number {n}?", "response": "x" * 100} for n in range(20_000)]
    assert len(json.dumps(many)) > 2_000_000
    assert [row.prompt[0]["content"] for row in read(json.dumps(many)) if isinstance(row, Row)] == [
        pair["prompt"] for pair in many]
    assert len(read(json.dumps({"data": many}))) == 20_000


def test_a_gzip_is_known_by_its_bytes_whatever_its_name() -> None:
    assert read(gzip.compress(LAYOUTS["a list on one line"].encode()), "data.json") == ROWS


def test_a_broken_or_long_element_costs_one_row_of_a_list() -> None:
    first, second, third = map(json.dumps, PAIRS)
    assert read(f"[{first}, {{broken}}, {third}]")[::2] == [ROWS[0], ROWS[2]]
    long = json.dumps({"prompt": "x" * 1_100_000})
    assert read(f"[{first},\n{long},\n{third}]") == [ROWS[0], BadRow(2, "longer than 1 MB"), ROWS[2]]
    assert read(f"[{first},,{third}]")[1] == BadRow(2, "invalid JSON: Expecting value: line 1 column 1 (char 0)")


def test_a_first_row_that_is_broken_does_not_hide_the_others() -> None:
    _, second, third = map(json.dumps, PAIRS)
    for broken in ('{"prompt": "Wh', '{"prompt": "a", "chosen":', "{"):
        first, *rest = read("\n".join((broken, second, third)), "data.jsonl")
        assert isinstance(first, BadRow) and "invalid JSON" in first.reason and rest == ROWS[1:]


def test_a_second_list_in_the_object_is_named_and_not_lost_in_silence() -> None:
    *rows, last = read(json.dumps({"train": PAIRS, "test": PAIRS}))
    assert rows == ROWS
    assert isinstance(last, BadRow) and "'train' is read, 'test' is not" in last.reason


def test_one_row_with_messages_is_a_row_and_not_a_list_of_rows() -> None:
    row = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "id": 1}
    expected = [Row([{"role": "user", "content": "Why?"}], "So.")]
    assert read(json.dumps(row)) == read(json.dumps(row, indent=2)) == expected
    assert read(json.dumps(row, indent=2) + "\n" + json.dumps(row, indent=2)) == expected * 2


@pytest.mark.parametrize("content", [
    {"prompt": {"0": "a", "1": "b"}, "chosen": {"0": "c", "1": "d"}}, {"prompt": ["a", "b"], "chosen": ["c", "d"]},
    {"columns": ["prompt"], "index": [0], "data": [["a"]]},
])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_table_written_by_columns_is_refused_by_name(content: dict[str, Any], indent: int | None) -> None:
    with pytest.raises(BadData, match="object of columns") as problem:
        read(json.dumps(content, indent=indent))
    assert "orient='records'" in problem.value.remedy


def test_a_list_that_never_ends_is_no_whole_file() -> None:
    with pytest.raises(BadData, match="never ends"):
        read(json.dumps(PAIRS)[:-1])
    with pytest.raises(BadData, match="without a byte order mark"):
        read(json.dumps(PAIRS).encode("utf-16-le"))


def test_bytes_that_are_not_utf8_cost_the_cell_that_holds_them() -> None:
    first = b'{"prompt": "Why?", "note": "caf\xe9"}\n'
    second = b'{"prompt": "caf\xe9?", "note": ""}\n'
    third = b'{"prompt": [{"role": "user", "content": "caf\xe9?"}], "n\xe9": 1}'
    good, bad, also_bad = read(first + second + third, "data.jsonl")
    assert good == Row([{"role": "user", "content": "Why?"}])
    for row in (bad, also_bad):
        assert isinstance(row, BadRow) and "column 'prompt' holds bytes that are not UTF-8 text" in row.reason


def test_depth_and_digits_are_bounded_and_strings_do_not_count() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for text in ("[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 500_000, '[{"a":' * 100_000):
        with pytest.raises(ValueError, match="100 deep"):
            parse_json(text)
    assert parse_json(json.dumps("[" * 500)) == "[" * 500
    assert parse_json(json.dumps(['\\"' + "{" * 500])) == ['\\"' + "{" * 500]
    assert parse_json("9" * 5000) == float("inf") and parse_json("-7") == -7
    assert parse_json("[" + "[]," * 500 + "1]")[-1] == 1


def test_a_list_is_cut_the_same_wherever_its_chunks_end() -> None:
    texts = ['a"b', "\\", '\\"', "[,]", "{}", "é😀", "", "\\\\\"", "plain"]
    random_ = random.Random(7)
    for _ in range(200):
        values = [random_.choice([random_.choice(texts), [random_.choice(texts)] * 2, {"k": random_.choice(texts)}, 1])
                  for _ in range(random_.randrange(1, 6))]
        body = json.dumps(values, indent=random_.choice([None, 1])).encode()[1:]

        def chunks(body: bytes = body) -> Iterator[bytes]:
            start = 0
            while start < len(body):
                end = start + random_.randrange(1, 9)
                yield body[start:end]
                start = end
        splitter = Splitter(chunks())
        pieces = list(splitter)
        assert splitter.ended and [json.loads(piece or b"") for piece in pieces] == values


def test_what_follows_a_list_is_not_dropped_in_silence() -> None:
    line = json.dumps([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}])
    with pytest.raises(BadData, match="something else follows it"):
        read(f"{line}\n{line}\n", "data.jsonl")


def test_more_rows_than_are_read_are_named_and_not_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import reading

    monkeypatch.setattr(reading, "MAX_ROWS", 2)
    *rows, last = read(json.dumps(PAIRS))
    assert rows == ROWS[:2]
    assert isinstance(last, BadRow) and "this row and all after it are left out" in last.reason
    assert read(json.dumps(PAIRS), limit=2) == ROWS[:2]
