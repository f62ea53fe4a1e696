"""Every column and message that carries a part of the prompt becomes a part of it; what is not used has a name."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from training.data.messages import SPEAKERS
from training.data.reading import BadRow, Row, preview, read_rows
from training.data.rows import recognise, to_row, unused_columns

USER = {"role": "user", "content": "Which bird?"}
HERON, RUDE = {"role": "assistant", "content": "The heron."}, {"role": "assistant", "content": "Go away."}
SYSTEM = {"role": "system", "content": "Be brief."}


def rows(*records: Any, **options: Any) -> list[Row | BadRow]:
    body = "\n".join(map(json.dumps, records)).encode()
    return list(read_rows(io.BytesIO(body), "data.jsonl", **options))


def reason(*records: Any) -> str:
    [row] = rows(*records)
    assert isinstance(row, BadRow)
    return row.reason


ASKED = {"role": "user", "content": "Translate.\n\nDas Haus"}


@pytest.mark.parametrize(("record", "prompt"), [
    ({"instruction": "Translate.", "input": "Das Haus", "output": "The house"}, [ASKED]),
    ({"instruction": "Translate.", "context": "Das Haus", "response": "The house"}, [ASKED]),
    ({"instruction": "Which bird?", "input": "", "output": "The heron."}, [USER]),
    ({"instruction": "Which bird?", "input": None, "output": "The heron."}, [USER]),
    ({"input": "Which bird?", "output": "The heron."}, [USER]),
    ({"system": "Be brief.", "question": "Which bird?", "chosen": "The heron.", "rejected": "No."}, [SYSTEM, USER]),
    ({"system_prompt": "Be brief.", "question": "Which bird?", "response": "The heron."}, [SYSTEM, USER]),
    ({"system": " ", "question": "Which bird?", "response": "The heron."}, [USER]),
    ({"system": "Be brief.", "messages": [USER, HERON]}, [SYSTEM, USER]),
    ({"system": "Be brief.", "messages": [SYSTEM, USER, HERON]}, [SYSTEM, USER]),
    ({"system": "Be brief.", "chosen": "\n\nHuman: Which bird?\n\nAssistant: The heron.",
      "rejected": "\n\nHuman: Which bird?\n\nAssistant: Go away."}, [SYSTEM, USER]),
    ({"system": "Be brief.", "history": [["Hello", "Hi"]], "instruction": "Which bird?", "output": "The heron."},
     [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, USER]),
    ({"history": "[[\"Hello\", \"Hi\"]]", "instruction": "Which bird?", "output": "The heron."},
     [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, USER]),
    ({"history": [], "instruction": "Which bird?", "output": "The heron."}, [USER]),
    ({"history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
      "prompt": "Which bird?"}, [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, USER]),
])
def test_columns_whose_meaning_is_known_become_part_of_the_prompt(
    record: dict[str, Any], prompt: list[dict[str, str]],
) -> None:
    [row] = rows(record)
    assert isinstance(row, Row) and row.prompt == prompt


def test_columns_that_nothing_is_read_from_are_named() -> None:
    body = json.dumps({"question": "Why?", "answer": "So.", "note": "n", "score": 3, "a\ud800": 1}).encode()
    form, columns, _ = preview(io.BytesIO(body), "data.jsonl")
    assert unused_columns(columns, form) == ["note", "score", "a\ufffd"]


def test_another_system_message_in_the_column_is_no_part_in_silence() -> None:
    record = {"system": "Be long.", "messages": [SYSTEM, USER, HERON]}
    assert reason(record) == "column 'system' holds another system message than the prompt"
    assert reason({"instruction": "Why?", "input": ["x"], "output": "So."}) == "column 'input' is a list, not text"
    assert "the history holds a turn" in reason({"history": [[1, 2]], "prompt": "Why?"})


PAIR = Row([USER], "The heron.", "Go away.")  # type: ignore[list-item]
WITH_SYSTEM = Row([SYSTEM, USER], "The heron.", "Go away.")  # type: ignore[list-item]


def turn(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.parametrize(("record", "row"), [
    ({"conversations": [turn("human", "Which bird?")], "chosen": turn("gpt", "The heron."),
      "rejected": turn("gpt", "Go away.")}, PAIR),
    ({"conversations": [turn("system", "Be brief."), turn("human", "Which bird?")], "chosen": turn("gpt", "The heron."),
      "rejected": turn("gpt", "Go away.")}, WITH_SYSTEM),
    ({"prompt": USER, "chosen": HERON, "rejected": [RUDE]}, PAIR),
    ({"prompt": "Which bird?", "chosen": [SYSTEM, USER, HERON], "rejected": [SYSTEM, USER, RUDE]}, WITH_SYSTEM),
    ({"prompt": "Which bird?", "chosen": [SYSTEM, HERON], "rejected": [SYSTEM, RUDE]}, WITH_SYSTEM),
    ({"prompt": [SYSTEM, USER], "chosen": [USER, HERON], "rejected": [SYSTEM, USER, RUDE]}, WITH_SYSTEM),
    ({"prompt": "Which bird?", "chosen": [SYSTEM, USER, HERON], "rejected": "Go away."}, WITH_SYSTEM),
    ({"chosen": [SYSTEM, USER, HERON], "rejected": [SYSTEM, USER, RUDE]}, WITH_SYSTEM),
    ({"prompt": [{"role": "developer", "content": "Be brief."}, USER], "chosen": "The heron.", "rejected": "Go away."},
     WITH_SYSTEM),
    ({"prompt": [{"role": "User", "content": parts("Which ", "bird?")}],
      "chosen": [{"role": "assistant", "content": parts("The heron.")}],
      "rejected": [{"role": "model", "content": ["Go ", "away."]}]}, PAIR),
])
def test_every_spelling_of_messages_gives_the_same_pair(record: dict[str, Any], row: Row) -> None:
    assert rows(record) == [row]


@pytest.mark.parametrize(("record", "words"), [
    ({"prompt": "p", "chosen": [SYSTEM, USER, HERON], "rejected": [SYSTEM, USER, RUDE]}, "follows the prompt"),
    ({"prompt": "Which bird?", "chosen": [SYSTEM, HERON],
      "rejected": [{"role": "system", "content": "Be long."}, RUDE]}, "different system messages"),
    ({"prompt": [SYSTEM, USER], "chosen": [{"role": "system", "content": "Be long."}, USER, HERON],
      "rejected": RUDE}, "another system message than the prompt"),
    ({"messages": [USER, {"role": "tool", "content": "4"}]}, "the role 'tool'"),
    ({"messages": [{"role": "function", "content": "4"}, USER]}, "the role 'function'"),
    ({"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}]}, "calls a tool"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, *parts("a")]}]},
     "a part of the type 'image_url'"),
    ({"messages": [{"role": "user", "content": [7]}]}, "a part of the type 'a number'"),
    ({"messages": [{"role": "user", "content": None}]}, "the content of a message is missing"),
    ({"prompt": {"text": "Why?"}, "chosen": "a", "rejected": "b"}, "the role 'None'"),
    ({"prompt": [], "chosen": "a", "rejected": "b"}, "the prompt is empty"),
    ({"prompt": "p", "chosen": [], "rejected": "b"}, "does not end with a message of the assistant"),
    ({"prompt": "p", "chosen": USER, "rejected": "b"}, "does not end with a message of the assistant"),
    ({"prompt": "p", "response": "cut \ud83d"}, "the only response holds half of a character"),
    ({"prompt": "p\x00", "response": "b"}, "the prompt holds a NUL"),
    ({"system": "s\x00", "prompt": "p", "response": "b"}, "the prompt holds a NUL"),
])
def test_what_is_no_text_of_a_person_or_an_assistant_is_a_reason(record: dict[str, Any], words: str) -> None:
    assert words in reason(record)


def test_the_known_roles_are_those_that_a_dialogue_has() -> None:
    assert set(SPEAKERS.values()) == {"user", "assistant", "system"}


def pair(number: int, *left_out: str) -> dict[str, str]:
    record = {"prompt": f"Who is {number}?", "chosen": "She.", "rejected": "He."}
    return {key: value for key, value in record.items() if key not in left_out}


@pytest.mark.parametrize("left_out", [("rejected",), ("chosen",), ("chosen", "rejected"), ("prompt",)])
@pytest.mark.parametrize("lacking", [1, 150])
def test_a_key_that_the_first_rows_lack_is_known_all_the_same(left_out: tuple[str, ...], lacking: int) -> None:
    read = rows(*(pair(number, *left_out) for number in range(lacking)), *map(pair, range(60)))
    assert [isinstance(row, Row) for row in read] == [False] * lacking + [True] * 60
    assert all(row.rejected == "He." for row in read if isinstance(row, Row))
    assert isinstance(read[0], BadRow) and f"no value in column '{left_out[0]}'" in read[0].reason


@pytest.mark.parametrize(("first", "last", "late"), [
    (pair(1, "rejected"), pair(2), "rejected"), (pair(1, "chosen"), pair(2), "chosen"),
    ({"prompt": "Why?"}, {"prompt": "Why?", "answer": "So."}, "answer"),
    ({"instruction": "Translate.", "output": "a"}, {"instruction": "Translate.", "output": "a", "input": "b"}, "input"),
    ({"messages": [USER, HERON]}, {"messages": [USER, HERON], "system": "Be brief."}, "system"),
])
def test_a_part_that_only_late_rows_have_is_not_lost_in_silence(
    first: dict[str, Any], last: dict[str, Any], late: str,
) -> None:
    *good, bad = rows(*[first] * 200, last)
    assert all(isinstance(row, Row) for row in good)
    assert isinstance(bad, BadRow) and f"a column '{late}'" in bad.reason


def test_a_late_column_that_nothing_would_be_read_from_is_no_reason() -> None:
    late = {**pair(2), "question": "Who else?", "note": "n", "output": "x"}
    assert all(isinstance(row, Row) for row in rows(*[pair(1)] * 200, late))


def test_earlier_turns_come_after_the_system_message() -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And Elsby's?"}]
    record = {"prompt": prompt, "history": [["Avela's flag?", "Red."]]}
    form = recognise(list(record), [record])
    assert [message["role"] for message in to_row(record, form).prompt] == ["system", "user", "assistant", "user"]


def test_a_part_that_a_person_leaves_out_has_no_column() -> None:
    columns = ["instruction", "input", "output"]
    assert recognise(columns, []).columns["input"] == "input"
    assert "input" not in recognise(columns, [], {"input": ""}).columns
