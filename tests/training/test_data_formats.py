"""Datasets in every known spelling become the same rows, and every bad row comes back with its number and reason."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from training.data.data_files import BadRow, Row, preview, read_rows, recognise
from training.errors import BadData

HH = Path(__file__).parents[3] / "shared" / "data" / "hh_harmless_1500.jsonl.gz"
USER = {"role": "user", "content": "Which bird?"}
ROW = Row([USER], "The heron.", "Go away.")  # type: ignore[list-item]

SPELLINGS: dict[str, dict[str, Any]] = {
    "hh-rlhf": {"chosen": "\n\nHuman: Which bird?\n\nAssistant: The heron.",
                "rejected": "\n\nHuman: Which bird?\n\nAssistant: Go away."},
    "hh-rlhf, trimmed": {"chosen": "Human: Which bird?\n\nAssistant: The heron.",
                         "rejected": "Human: Which bird?\n\nAssistant: Go away."},
    "trl": {"prompt": "Which bird?", "chosen": "The heron.", "rejected": "Go away."},
    "trl, prompt of hh-rlhf": {"prompt": "\n\nHuman: Which bird?\n\nAssistant:", "chosen": " The heron.",
                               "rejected": " Go away."},
    "trl, conversational": {"prompt": [USER], "chosen": [{"role": "assistant", "content": "The heron."}],
                            "rejected": [{"role": "assistant", "content": "Go away."}]},
    "trl, implicit prompt": {"chosen": [USER, {"role": "assistant", "content": "The heron."}],
                             "rejected": [USER, {"role": "assistant", "content": "Go away."}]},
    "trl, whole dialogues beside a plain prompt": {
        "prompt": "Which bird?", "chosen": [USER, {"role": "assistant", "content": "The heron."}],
        "rejected": [USER, {"role": "assistant", "content": "Go away."}]},
    "another name for the prompt": {"question": "Which bird?", "chosen": "The heron.", "rejected": "Go away."},
}


def jsonl(*records: Any) -> io.BytesIO:
    return io.BytesIO("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records).encode())


def rows(*records: Any, **options: Any) -> list[Row | BadRow]:
    return list(read_rows(jsonl(*records), "data.jsonl", **options))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_preference_gives_the_same_row(spelling: str) -> None:
    assert rows(SPELLINGS[spelling]) == [ROW]


@pytest.mark.parametrize("column", ["prompt", "question", "instruction", "text"])
def test_prompts_alone_are_known_by_the_usual_names(column: str) -> None:
    assert rows({column: "Which bird?", "id": 3}) == [Row(ROW.prompt)]


def test_a_prompt_with_a_response_is_a_dialogue() -> None:
    assert rows({"instruction": "Which bird?", "output": "The heron."}) == [Row(ROW.prompt, "The heron.")]
    reply = {"role": "assistant", "content": "The heron."}
    assert rows({"messages": [USER, reply]}) == [Row(ROW.prompt, "The heron.")]
    assert rows({"messages": [USER]}) == [Row(ROW.prompt)]
    shared = {"conversations": [{"from": "human", "value": "Which bird?"}, {"from": "gpt", "value": "The heron."}]}
    assert rows(shared) == [Row(ROW.prompt, "The heron.")]


def test_earlier_turns_stay_in_the_prompt() -> None:
    before = "\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: Which bird?\n\nAssistant:"
    [row] = rows({"chosen": before + " The heron.", "rejected": before + " Go away."})
    assert isinstance(row, Row)
    assert [message["role"] for message in row.prompt] == ["user", "assistant", "user"]
    assert (row.chosen, row.rejected) == ("The heron.", "Go away.")


def test_the_persons_word_on_the_columns_wins() -> None:
    record = {"prompt": "not this", "ask": "Which bird?", "good": "The heron.", "bad": "Go away."}
    columns = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
    assert rows(record, columns=columns) == [ROW]
    with pytest.raises(BadData, match="no column nowhere"):
        rows(record, columns={"prompt": "nowhere"})
    with pytest.raises(BadData, match=r"None of the columns \(x, y\) is known"):
        recognise(["x", "y"], [{"x": 1, "y": 2}])


BAD: list[tuple[Any, str]] = [
    ("{not json", "invalid JSON"),
    ('["a list"]', "expected an object, found a list"),
    ({"prompt": "Which bird?", "chosen": "The heron."}, "no value in column 'rejected'"),
    ({"prompt": 7, "chosen": "a", "rejected": "b"}, "expected text or messages, found a number"),
    ({"prompt": " ", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
    ({"prompt": "p", "chosen": "same", "rejected": "same "}, "are the same"),
    ({"prompt": "p", "chosen": "", "rejected": "b"}, "the chosen response is empty"),
    ({"prompt": "p", "chosen": ["x"], "rejected": "b"}, "a message is text, not an object"),
    ({"prompt": [{"role": "wizard", "content": "p"}], "chosen": "a", "rejected": "b"}, "the role 'wizard'"),
    ({"prompt": [USER, {"role": "assistant", "content": "p"}], "chosen": "a", "rejected": "b"}, "of the assistant"),
]


@pytest.mark.parametrize(("record", "reason"), BAD)
def test_a_bad_row_says_its_number_and_why_and_the_next_is_read(record: Any, reason: str) -> None:
    good = SPELLINGS["trl"]
    first, second, third = rows(good, record, good)
    assert (first, third) == (ROW, ROW)
    assert isinstance(second, BadRow) and second.number == 2 and reason in second.reason


def test_dialogues_that_differ_before_the_last_reply_share_no_prompt() -> None:
    other = SPELLINGS["hh-rlhf"] | {"rejected": "\n\nHuman: Which fish?\n\nAssistant: Go away."}
    [bad] = rows(other)
    assert isinstance(bad, BadRow) and "share no prompt" in bad.reason


def test_a_line_too_long_is_one_bad_row_however_it_is_packed() -> None:
    content = gzip.compress(b'{"prompt": "' + b"x" * 30_000_000 + b'"}\n{"prompt": "Which bird?"}\n')
    bad, good = read_rows(io.BytesIO(content), "bomb.jsonl.gz")
    assert bad == BadRow(1, "longer than 1 MB") and good == Row(ROW.prompt)


def test_no_more_rows_are_read_than_asked_for() -> None:
    assert len(rows(*[{"prompt": f"p{i}"} for i in range(9)], limit=4)) == 4


def test_csv_with_cells_of_several_lines_and_of_messages() -> None:
    text = 'prompt,chosen,rejected\n"Which bird?",The heron.,Go away.\n"a\nb",x,y\nonly one\np,x,y,z\n'
    first, second, third, fourth = read_rows(io.BytesIO(b"\xef\xbb\xbf" + text.encode()), "data.csv")
    assert first == ROW and isinstance(second, Row) and second.prompt[0]["content"] == "a\nb"
    assert third == BadRow(3, "no value in column 'chosen'")
    assert fourth == BadRow(4, "more cells than there are columns")
    cell = json.dumps([USER]).replace('"', '""')
    assert list(read_rows(io.BytesIO(f'messages\n"{cell}"\n'.encode()), "data.csv")) == [Row(ROW.prompt)]


def test_parquet_and_a_list_in_json() -> None:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    records = [SPELLINGS["trl, conversational"], SPELLINGS["trl, conversational"] | {"prompt": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    file.seek(0)
    assert list(read_rows(file, "data.parquet")) == [ROW, BadRow(2, "no value in column 'prompt'")]
    assert list(read_rows(io.BytesIO(json.dumps([SPELLINGS["trl"]], indent=1).encode()), "data.json")) == [ROW]


def test_text_that_a_database_wrote_to_parquet_as_bytes_is_read() -> None:
    import pyarrow
    import pyarrow.parquet

    for kind in (pyarrow.binary(), pyarrow.large_binary()):
        file = io.BytesIO()
        texts = pyarrow.array([b"Which bird?", b"caf\xe9?", None], kind)
        pyarrow.parquet.write_table(pyarrow.table({"prompt": texts, "picture": [b"\x89PNG\xff"] * 3}), file)
        file.seek(0)
        first, second, third = read_rows(file, "data.parquet")
        assert first == Row(ROW.prompt) and third == BadRow(3, "no value in column 'prompt'")
        assert isinstance(second, BadRow) and "not UTF-8 text" in second.reason


@pytest.mark.parametrize(("name", "content"), [("data.jsonl.gz", b"no gzip"), ("data.parquet", b"no parquet"),
                                               ("data.exe", b""), ("data.json", b"[{]")])
def test_a_file_that_cannot_be_read_says_so(name: str, content: bytes) -> None:
    with pytest.raises(BadData):
        list(read_rows(io.BytesIO(content), name))


def test_a_preview_tells_format_columns_and_first_rows() -> None:
    form, columns, first = preview(jsonl(SPELLINGS["trl"], "{", SPELLINGS["trl"]), "data.jsonl", count=2)
    assert (form.kind, columns) == ("preference", ["prompt", "chosen", "rejected"])
    assert first[0] == ROW and isinstance(first[1], BadRow)
    with pytest.raises(BadData, match="no row that can be read"):
        preview(jsonl(), "data.jsonl")


@pytest.mark.skipif(not HH.is_file(), reason="the shared data is not beside the repository")
def test_the_real_hh_rlhf_file_imports_as_it_is() -> None:
    records = list(read_rows(HH, HH.name))
    good = [row for row in records if isinstance(row, Row)]
    bad = [row for row in records if isinstance(row, BadRow)]
    assert (len(records), len(good)) == (1500, 1494)
    assert [row.number for row in bad] == [221, 317, 335, 827, 939, 1013]
    assert all(row.chosen and row.rejected and row.prompt[-1]["role"] == "user" for row in good)


@pytest.mark.parametrize("column", ["chosen", "rejected"])
def test_one_of_the_two_responses_alone_is_a_response(column: str) -> None:
    form = recognise(["prompt", column], [])
    assert (form.kind, form.columns) == ("dialogues", {"prompt": "prompt", "response": column})
