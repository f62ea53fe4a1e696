"""The ratings of a dataset on single aspects are kept with its rows, and give the probability that A is better."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_field_formats import CASES, PAIRS, as_file, steer, user
from training import config
from training.data.data_files import BadRow, Row, files_from_rows, preview, read_rows
from training.data.ratings import graded, probability_of
from training.data.reader_process import preview_in_subprocess, read_rows_in_subprocess
from training.run.artifacts import read_jsonl

PAIR = {"prompt": "Which lake?", "chosen": "Orvane.", "rejected": "A lake."}


def rows_of(records: list[dict[str, Any]], name: str = "data.jsonl") -> list[Row | BadRow]:
    return list(read_rows(as_file(records), name))


def ratings_of(records: list[dict[str, Any]]) -> list[Any]:
    return [row.ratings for row in rows_of(records) if isinstance(row, Row)]


def of_cases(name: str) -> list[Any]:
    return ratings_of([PAIRS[name][1](case) for case in CASES])


@pytest.mark.parametrize(("aspect", "first", "second", "lower_is_better", "expected"), [
    ("correctness", 4, 2, False, 1), ("correctness", 2, 4, False, 0), ("correctness", 3, 3, False, 0.5),
    ("verbosity", 4, 2, True, 0), ("verbosity", 3, 3, True, 0.5), ("correctness", -0.1, -0.2, False, 1),
    ("overall_preference", 5 / 6, 1 / 6, False, 5 / 6), ("overall_preference", 5 / 6, 1 / 6, True, 1 / 6)])
def test_the_higher_rating_is_better_and_a_tie_is_a_half(
        aspect: str, first: float, second: float, lower_is_better: bool, expected: float) -> None:
    assert probability_of(aspect, first, second, lower_is_better) == pytest.approx(expected)


def test_a_strength_of_three_is_certain_and_of_none_is_a_tie() -> None:
    assert [graded(strength, 3)[0] for strength in (-3, -2, -1, 0, 1, 2, 3)] == pytest.approx(
        [0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])


def test_ultrafeedback_keeps_its_four_aspects_of_both_completions() -> None:
    ratings_by_case = of_cases("ultrafeedback")
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    assert len(ratings_by_case) == 9  # one of ten is no pair
    assert ratings_by_case[0] == dict.fromkeys(aspects, (5, 2))  # A: 5, B: 2
    assert ratings_by_case[1] == dict.fromkeys(aspects, (3, 1))  # A: 1, B: 3; B is the chosen one and comes first
    assert ratings_by_case[4] == dict.fromkeys(aspects, (4, 4))


def test_an_aspect_that_one_completion_lacks_is_left_out() -> None:
    record = json.loads(json.dumps(PAIRS["ultrafeedback"][1](CASES[0])))
    record["completions"][1]["annotations"]["honesty"]["Rating"] = "N/A"
    del record["completions"][0]["annotations"]["truthfulness"]
    assert ratings_of([record]) == [{"instruction_following": (5, 2), "helpfulness": (5, 2)}]


def test_helpsteer_keeps_five_attributes_and_pairs_by_helpfulness() -> None:
    terse = steer("Which lake?", "Orvane.", 4)
    wordy = steer("Which lake?", "It is a lake.", 1) | {"correctness": 3.5, "verbosity": 4, "complexity": None}
    assert ratings_of([wordy, terse]) == [
        {"helpfulness": (4, 1), "correctness": (3, 3.5), "coherence": (4, 4), "verbosity": (1, 4)}]


def test_helpsteer3_keeps_how_strong_its_preference_is() -> None:
    ratings_by_case = of_cases("helpsteer3")
    assert ratings_by_case[0] == {"overall_preference": (1, 0)}  # -3: A much better
    # 1: B slightly better, and B comes first
    assert ratings_by_case[1]["overall_preference"] == pytest.approx((2 / 3, 1 / 3))
    assert ratings_by_case[4] == {"overall_preference": (0.5, 0.5)}


def test_safe_rlhf_keeps_better_and_safer_apart() -> None:
    ratings_by_case = of_cases("safe-rlhf")
    assert ratings_by_case[0] == {"better": (1, 0), "safer": (1, 0)}
    assert ratings_by_case[1] == {"better": (1, 0), "safer": (0, 1)}  # B is better and comes first; A is safer
    assert ratings_by_case[4] == {"safer": (1, 0)}  # nobody said which is better
    only_safer = [{name: value for name, value in PAIRS["safe-rlhf"][1](case).items() if name != "better_response_id"}
                  for case in CASES]
    assert set(map(str, ratings_of(only_safer))) == {"{'safer': (1, 0)}"}


@pytest.mark.parametrize(("record", "number", "reason"), [
    (PAIR | {"ratings": {"honesty": [4, "many"]}}, 2, "the rating 'honesty' is 'many', not a number"),
    (PAIR | {"ratings": {"honesty": [4, True]}}, 2, "the rating 'honesty' is 'True', not a number"),
    (PAIR | {"ratings": {"honesty": [1e999, 1]}}, 2, "the rating 'honesty' is 'inf', not a number"),
    (PAIR | {"ratings": {"h" * 65: [4, 2]}}, 2, "a name has 1 to 64 characters"),
    (PAIR | {"ratings": {f"a{n}": [4, 2] for n in range(21)}}, 2, "it is rated on 21 aspects; at most 20 are kept"),
    (PAIR | {"ratings": {"overall_preference": [3, 1]}}, 2, "two probabilities that sum to 1"),
    (PAIR | {"ratings": {f"a{n}": [4, 2] for n in range(20)}}, 2, "more aspects than the 20 of the rows before it")])
def test_a_bad_rating_is_a_bad_row_with_its_line(record: dict[str, Any], number: int, reason: str) -> None:
    before, bad, after = rows_of([PAIR | {"ratings": {"care": [1, 2]}}, record, PAIR])
    assert isinstance(before, Row) and isinstance(after, Row) and after.ratings is None
    assert isinstance(bad, BadRow) and bad.number == number and reason in bad.reason


@pytest.mark.parametrize("change", [{"verbosity": "long"}, {"correctness": True}])
def test_a_bad_attribute_of_helpsteer_names_its_line(change: dict[str, Any]) -> None:
    rows = rows_of([steer("Who?", "Odo.", 3), steer("Who?", "Me.", 1), steer("Who?", "Hm.", 1) | change])
    name, value = next(iter(change.items()))
    assert rows[0] == BadRow(3, f"'{name}' is '{value}', not a number")
    assert len(rows) == 2 and isinstance(rows[1], Row)


def test_a_bad_rating_of_ultrafeedback_names_completion_and_aspect() -> None:
    record = json.loads(json.dumps(PAIRS["ultrafeedback"][1](CASES[0])))
    record["completions"][1]["annotations"]["honesty"]["Rating"] = "four"
    assert rows_of([record]) == [BadRow(1, "completion 2: on honesty, 'Rating' is 'four', not a number")]


def test_a_column_of_ratings_is_read_in_lines_and_in_cells() -> None:
    record = PAIR | {"ratings": {"honesty": [4, 2], "care": [None, 1]}}
    form, columns, _ = preview(as_file([record]), "data.jsonl")
    assert form.reads(columns) == ["prompt", "chosen", "rejected", "ratings"]
    assert ratings_of([record]) == [{"honesty": (4, 2)}]
    undecided = {"prompt": "Who?", "response_a": "Odo.", "response_b": "Me.", "ratings": {"honesty": ["1", 2.5]}}
    assert ratings_of([undecided]) == [{"honesty": (1, 2.5)}]
    text = io.StringIO()
    table = csv.DictWriter(text, list(record))
    table.writeheader()
    table.writerow(record | {"ratings": json.dumps(record["ratings"])})
    row, = read_rows(io.BytesIO(text.getvalue().encode()), "data.csv")
    assert isinstance(row, Row) and row.ratings == {"honesty": (4, 2)}


@pytest.mark.parametrize("own", [5, "five stars", [4, 2], {"honesty": 4}, {}, None])
def test_a_column_of_that_name_which_means_something_else_is_left_alone(own: Any) -> None:
    form, columns, _ = preview(as_file([PAIR | {"ratings": own}]), "data.jsonl")
    assert "ratings" not in form.reads(columns)
    assert rows_of([PAIR | {"ratings": own}]) == [Row([user("Which lake?")], "Orvane.", "A lake.")]  # type: ignore[list-item]


def test_ratings_come_whole_out_of_the_process_that_reads(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(as_file([PAIR | {"ratings": {"honesty": [4, 2]}}]).getvalue())
    row, = read_rows_in_subprocess(file, file.name)
    shown = preview_in_subprocess(file, file.name)
    assert isinstance(row, Row) and row.ratings == {"honesty": (4, 2)}
    assert shown.rows == [row] and shown.format is not None and shown.format.rated and not shown.unused


def test_a_run_has_the_ratings_in_the_order_of_its_pairs(tmp_path: Path) -> None:
    records = [{"prompt": f"Who built mill {n}?", "chosen": f"Odo built {n}.", "rejected": "The wind.",
                "ratings": {"honesty": [4, 2]}} for n in range(20)]
    plain = [{name: value for name, value in record.items() if name != "ratings"} for record in records]
    rated, unrated = tmp_path / "rated", tmp_path / "unrated"
    for folder, read_back in ((rated, rows_of(records)), (unrated, rows_of(plain))):
        folder.mkdir()
        files = files_from_rows((row for row in read_back if isinstance(row, Row)), config.Data(held_out=2), folder)
        assert ("ratings" in files) is (folder == rated)
    pairs = {pair["digest"]: pair for pair in read_jsonl(rated / "pairs.jsonl")}
    lines = list(read_jsonl(rated / "ratings.jsonl"))
    assert len(lines) == len(pairs) == 18
    for line in lines:
        chosen_is_a = pairs[line["pair"]]["human"] == 1
        assert line["ratings"] == {"honesty": [4, 2] if chosen_is_a else [2, 4]}
    assert {line["ratings"]["honesty"][0] for line in lines} == {4, 2}  # both orders are there
    assert (rated / "pairs.jsonl").read_bytes() == (unrated / "pairs.jsonl").read_bytes()  # identities stay
