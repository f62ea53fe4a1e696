"""Ten rows of every known layout come from a hub as they come from a file: really over HTTP, through Arrow's types.

One process reads all of them, since each that imports the datasets library takes seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.fake_hub import fake_hub
from tests.processes import ROOT, clean_environment
from tests.training.test_field_formats import CASES, PAIRS, Case, as_file, dialogue, message, steer, summary
from training.data.formats import LAYOUTS
from training.data.reading import preview, read_rows
from training.data.rows import BadRow, Row

READ = """
import json, sys
from training.data.reading import read_hub
from training.data.rows import Row
for name in sys.argv[1:]:
    print(json.dumps([row if isinstance(row, Row) else {"number": row.number, "reason": row.reason}
                      for row in read_hub(name, "train")]))
"""


def transcript(case: Case, answer: str) -> str:
    return f"\n\nHuman: {case.question}\n\nAssistant: {answer}"


def ranked(case: Case) -> dict[str, Any]:
    return {"prompt": f"\n\nHuman: {case.question}\n\nAssistant: ", "num_responses": 2, "turns": 1,
            "answers": [{"answer": case.a, "model": "x", "rank": 2.0}, {"answer": case.b, "model": "z", "rank": 1.0}]}


def chosen_among(case: Case) -> dict[str, Any]:
    return {"prompt": case.question, "chosen": dialogue(case, case.a), "rejected": dialogue(case, case.b)}


def one_each(record_of: Any) -> list[dict[str, Any]]:
    return [record_of(case) for case in CASES]


RECORDS: dict[str, list[dict[str, Any]]] = {
    **{name: one_each(record_of) for name, (_, record_of) in PAIRS.items()},
    "helpsteer": [steer(case.question, text, helpful) for case in CASES[:5] for text, helpful in (
        (case.a, 3), (case.b, case.number % 3))],
    "summaries": one_each(summary),
    "nectar": one_each(ranked),
    "openassistant-messages": [
        record for case in CASES[:5] for record in (
            message(f"q{case.number}", None, case.question, "prompter"),
            message(f"q{case.number}a", f"q{case.number}", case.a, "assistant", 1.0),
            message(f"q{case.number}b", f"q{case.number}", case.b, "assistant", 0.0))],
    "several": one_each(lambda case: {"prompt": case.question, "response_1": case.a, "response_2": case.b,
                                      "response_3": "Who knows?"}),
    "listed": one_each(lambda case: {"prompt": case.question, "responses": [case.a, case.b, "Who knows?"]}),
    "hh-rlhf": one_each(lambda case: {"chosen": transcript(case, case.a), "rejected": transcript(case, case.b)}),
    "conversations": one_each(chosen_among),
    "only-safer": one_each(lambda case: {"prompt": case.question, "response_0": case.a, "response_1": case.b,
                                         "is_response_0_safe": case.winner == "a",
                                         "is_response_1_safe": case.winner != "a",
                                         "safer_response_id": int(case.winner != "a")}),
    "a column of ratings": one_each(lambda case: {"prompt": case.question, "chosen": case.a, "rejected": case.b,
                                                  "ratings": {"honesty": [4, case.number % 4], "brevity": [1, None]}}),
}


@pytest.fixture(scope="module")
def rows_from_hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row | BadRow]]:
    """What comes from the hub, by layout."""
    repositories = {name: f"towns/{number}" for number, name in enumerate(RECORDS)}
    with fake_hub() as hub:
        hub.files |= {repositories[name]: {"train.jsonl": as_file(records).getvalue()}
                      for name, records in RECORDS.items()}
        environment = clean_environment(HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path_factory.mktemp("hub")))
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy",
                     "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            environment.pop(name, None)
        ran = subprocess.run([sys.executable, "-c", READ, *repositories.values()], cwd=ROOT, env=environment,
                             capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {name: [BadRow(**row, raw="") if isinstance(row, dict) else Row.of_json(row) for row in json.loads(line)]
            for name, line in zip(RECORDS, ran.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("name", RECORDS)
def test_a_layout_comes_from_the_hub_as_from_a_file(name: str, rows_from_hub: dict[str, list[Row | BadRow]]) -> None:
    from_file = list(read_rows(as_file(RECORDS[name]), "data.jsonl"))
    assert sum(isinstance(row, Row) for row in from_file) >= 4, "this says something"
    assert without_raw(rows_from_hub[name]) == without_raw(from_file)


def test_no_layout_is_missing_here() -> None:
    seen = {preview(as_file(records), "data.jsonl")[0].kind for records in RECORDS.values()}
    assert {layout.kind for layout in LAYOUTS} <= seen


def without_raw(rows: list[Row | BadRow]) -> list[Any]:
    """The rows without the text of bad ones, which the hub does not keep as it was written."""
    return [row if isinstance(row, Row) else (row.number, row.reason) for row in rows]
