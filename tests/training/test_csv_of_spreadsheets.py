"""CSV as spreadsheets save it is read right, or refused with words that name what is wrong with it."""

from __future__ import annotations

import csv
import io
import json

import pytest

from training.data.reading import BadRow, Row, preview, read_rows
from training.errors import BadData

TABLE = [["prompt", "chosen", "rejected"], ["Was, wann; wo?", "Größe\tund \"Maß\"", "Nein|nie"],
         ["Zwei\nZeilen?", "Ja.", "Nein."]]
ROWS = [Row([{"role": "user", "content": line[0]}], line[1], line[2]) for line in TABLE[1:]]


def written(delimiter: str = ",", end: str = "\r\n") -> str:
    file = io.StringIO(newline="")
    # Python's own writer leaves a line feed without quotation marks where lines end otherwise; no spreadsheet does.
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(TABLE)
    return file.getvalue()


def read(content: bytes | str, name: str = "data.csv") -> list[Row | BadRow]:
    return list(read_rows(io.BytesIO(content if isinstance(content, bytes) else content.encode()), name))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_separators_line_ends_and_encodings_are_known(delimiter: str, end: str, encoding: str) -> None:
    content = written(delimiter, end).encode(encoding)
    assert read(content) == ROWS
    assert preview(io.BytesIO(content), "data.csv")[2] == ROWS


def test_blank_lines_before_the_names_are_skipped() -> None:
    assert read("\r\n \r\n" + written(";")) == ROWS


def test_the_line_that_tells_excel_the_separator_is_no_header() -> None:
    assert read("sep=;\r\n" + written(";")) == ROWS


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman", "cp1250"])
def test_an_encoding_without_a_mark_is_named_and_never_guessed(encoding: str) -> None:
    content = "prompt,chosen,rejected\nPlain?,Yes.,No.\nSchön?,Größe.,No.\nWhat?,Yes.,caf\xe9\n".encode(encoding)
    good, *bad = read(content)
    assert isinstance(good, Row)
    for row in bad:
        assert isinstance(row, BadRow) and "UTF-8" in row.reason and "Windows-1252" in row.reason


def test_a_column_that_nobody_uses_may_hold_any_bytes() -> None:
    [row] = read(b"prompt,note,na\xefve\nWhy?,caf\xe9,\xff\xfe\x00\n")
    assert row == Row([{"role": "user", "content": "Why?"}])


def test_utf16_without_its_mark_and_a_workbook_are_named() -> None:
    with pytest.raises(BadData, match="UTF-16"):
        read(written().encode("utf-16-le"))
    with pytest.raises(BadData, match="Excel workbook"):
        read(b"PK\x03\x04...", "data.csv")


def test_a_quotation_mark_that_is_never_closed_swallows_nothing_in_silence() -> None:
    first, bad = read('prompt,response\nWhy?,So.\nHow?,"Thus.\nWho?,Me.\n')
    assert isinstance(first, Row)
    assert isinstance(bad, BadRow) and "never closed" in bad.reason
    [_, bad, last] = read('prompt,response\nWhy?,So.\nHow?,"Th"us.\nWho?,Me.\n')
    assert isinstance(bad, BadRow) and "write it twice" in bad.reason and isinstance(last, Row)


def test_of_two_columns_with_one_name_neither_hides_the_other() -> None:
    form, columns, _ = preview(io.BytesIO(b"prompt,response,response,\nWhy?,So.,Other.,\n"), "data.csv")
    assert columns == ["prompt", "response", "response (3)", "column 4"]
    assert read(b"prompt,response,response,\nWhy?,So.,Other.,\n") == [
        Row([{"role": "user", "content": "Why?"}], "So.")]
    assert form.columns == {"prompt": "prompt", "response": "response"}


def test_empty_cells_at_the_end_of_a_line_are_no_mistake() -> None:
    assert read("prompt,response\nWhy?,So.,,\n") == [Row([{"role": "user", "content": "Why?"}], "So.")]
    assert read("prompt,response\nWhy?,So.,more\n") == [BadRow(1, "more cells than there are columns")]


USER, REPLY = {"role": "user", "content": "Why \"now\"?"}, {"role": "assistant", "content": "It's so."}


@pytest.mark.parametrize("cell", [
    json.dumps([USER, REPLY]), json.dumps([USER, REPLY], indent=1), "\n " + json.dumps([USER, REPLY], indent=4),
    str([USER, REPLY]), json.dumps([{"from": "human", "value": "Why \"now\"?"}, {"from": "gpt", "value": "It's so."}]),
])
def test_messages_in_a_cell_are_read_however_they_are_written(cell: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["messages", "id"], [cell, 1]])
    assert read(file.getvalue()) == [Row([{"role": "user", "content": "Why \"now\"?"}], "It's so.")]


@pytest.mark.parametrize("text", ["[1, 2]", "{\"a\": 1}", "[see note] why?", "{curly}", "[{'a': 1}]", "[]", "[{"])
def test_a_text_that_only_looks_like_json_stays_text(text: str) -> None:
    assert read_rows_of({"prompt": text, "response": text}) == [Row([{"role": "user", "content": text}], text)]


def read_rows_of(record: dict[str, object]) -> list[Row | BadRow]:
    return list(read_rows(io.BytesIO(json.dumps(record).encode()), "data.jsonl"))


def test_a_sign_in_quotation_marks_separates_no_cells() -> None:
    data = io.BytesIO(b'"prompt; the first; in full; again",response\nWho?,Ada.\n')
    rows = list(read_rows(data, "a.csv", {"prompt": "prompt; the first; in full; again"}, None))
    assert rows == [Row([{"role": "user", "content": "Who?"}], "Ada.")]
