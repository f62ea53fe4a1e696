"""The data files of a run: held out means held out, and the position of a response gives nothing away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.config import Data, check_recipe
from training.data.data_files import Row, digests, files_from_rows, prepare
from training.data.file_cache import bad_rows_notice, cached_data_files
from training.errors import BadData, BadSettings
from training.run.artifacts import read_jsonl
from training.run.pipeline import pair_digest


def row(number: int, **changes: Any) -> Row:
    plain = Row([{"role": "user", "content": f"Question {number}?"}], f"Good {number}.", f"Bad {number}.")
    return plain._replace(**changes)


def recipe(**changes: Any) -> Any:
    server = {"kind": "openai", "model": "m"}
    return check_recipe({"principles": [{"name": "toxicity"}], "judge": server, **changes})


def test_no_prompt_is_both_trained_on_and_held_out(tmp_path: Path) -> None:
    rows = [row(number // 2, chosen=f"Good {number}.") for number in range(200)]  # every prompt twice
    files = files_from_rows(rows, Data(source="x", held_out=10), tmp_path)
    content = {role: [str(entry["prompt"]) for entry in read_jsonl(path)] for role, path in files.items()}
    assert {role: len(prompts) for role, prompts in content.items()} == {
        "prompts": 90, "held_out": 10, "pairs": 180, "dialogues": 180}
    held_out = set(content.pop("held_out"))
    assert all(held_out.isdisjoint(prompts) for prompts in content.values())


def test_the_held_out_prompts_hardly_move_when_rows_are_added(tmp_path: Path) -> None:
    def held_out(count: int, name: str) -> set[str]:
        files = files_from_rows([row(n) for n in range(count)], Data(source="x", held_out=10), tmp_path / name)
        return {str(entry["prompt"]) for entry in read_jsonl(files["held_out"])}

    assert len(held_out(200, "a") & held_out(210, "b")) >= 8


def test_no_more_rows_than_the_limit_are_used_and_none_is_read_beyond_it(tmp_path: Path) -> None:
    rows = (row(number) for number in range(1000))
    files = files_from_rows(rows, Data(source="x", limit=20, held_out=4), tmp_path)
    assert (len(list(read_jsonl(files["held_out"]))), len(list(read_jsonl(files["prompts"])))) == (4, 16)
    assert next(rows) == row(20)


def test_few_rows_lend_a_fifth_of_their_prompts(tmp_path: Path) -> None:
    files = files_from_rows([row(n) for n in range(20)], Data(source="x", held_out=300), tmp_path)
    assert (len(list(read_jsonl(files["held_out"]))), len(list(read_jsonl(files["prompts"])))) == (4, 16)
    with pytest.raises(BadData, match="1 usable prompts"):
        files_from_rows([row(1), row(1)], Data(source="x"), tmp_path)


def test_position_does_not_tell_what_a_person_chose(tmp_path: Path) -> None:
    files = files_from_rows([row(n) for n in range(500)], Data(source="x", held_out=2), tmp_path)
    pairs = list(read_jsonl(files["pairs"]))
    for pair in pairs:
        assert (pair["a"] if pair["human"] == 1.0 else pair["b"]).startswith("Good")
        assert pair["digest"] == pair_digest(pair["prompt"], pair["a"], pair["b"])
    assert 0.4 < sum(pair["human"] for pair in pairs) / len(pairs) < 0.6
    # The same two responses lie in the same places whichever of them was chosen: the digest is the same too.
    other = files_from_rows([row(n, chosen=f"Bad {n}.", rejected=f"Good {n}.") for n in range(500)],
                            Data(source="x", held_out=2), tmp_path / "turned")
    turned = {pair["digest"]: pair["human"] for pair in read_jsonl(other["pairs"])}
    assert turned == {pair["digest"]: 1 - pair["human"] for pair in pairs}


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = (digests(files_from_rows([row(n) for n in range(50)], Data(source="x"), tmp_path / name))
                  for name in ("one", "other"))
    assert first == second and set(first) == {"prompts", "held_out", "pairs", "dialogues"}


def test_prompts_alone_make_neither_pairs_nor_dialogues(tmp_path: Path) -> None:
    rows = [row(n, chosen=None, rejected=None) for n in range(50)]
    assert set(files_from_rows(rows, Data(source="x"), tmp_path)) == {"prompts", "held_out"}


def test_rows_that_are_left_out_are_counted_and_their_reasons_kept(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "Who?"}\n{"prompt": "Cut \\ud83d"}\n{"prompt": "Why?"}\n{"prompt": ""}\n')
    settings = recipe(data={"source": str(source)})

    cached_data_files(settings, tmp_path / "out")

    bad = list(read_jsonl(tmp_path / "out" / "bad_rows.jsonl"))
    assert [row["row"] for row in bad] == [2, 4] and "half of a character" in bad[0]["reason"]
    assert bad_rows_notice(tmp_path / "out") == f"data: 2 rows were left out, see {tmp_path}/out/bad_rows.jsonl"
    assert bad_rows_notice(tmp_path) == ""


def test_a_file_without_a_good_row_and_a_folder_are_refused_with_the_way_out(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_bytes(b"prompt\ncaf\xe9\nna\xefve\n")
    with pytest.raises(BadData, match="Row 1: column 'prompt' holds bytes that are not UTF-8"):
        prepare(recipe(data={"source": str(source)}), tmp_path / "out")
    with pytest.raises(BadData, match="is a folder") as problem:
        prepare(recipe(data={"source": str(tmp_path)}), tmp_path / "out")
    assert "the path of a file" in problem.value.remedy


def test_a_recipe_that_asks_for_pairs_is_refused_data_without_them(tmp_path: Path) -> None:
    source = tmp_path / "prompts.csv"
    source.write_text("prompt\n" + "".join(f"Question {n}?\n" for n in range(20)))
    data = {"source": str(source)}
    assert set(prepare(recipe(data=data), tmp_path / "out")) == {"prompts", "held_out"}
    with pytest.raises(BadData, match="no pairs"):
        prepare(recipe(data=data, sample={"pairs": "dataset"}), tmp_path / "out")
    with pytest.raises(BadData, match="no responses to fine-tune on"):
        prepare(recipe(data=data, sft={"enabled": True}), tmp_path / "out")
    with pytest.raises(BadData, match="neither a file here nor the name"):
        prepare(recipe(data={"source": "no/such/file.csv"}), tmp_path / "out")


def test_the_demo_world_gives_as_many_prompts_as_asked_for(tmp_path: Path) -> None:
    rule = {"kind": "rule"}
    files = prepare(recipe(judge=rule, data={"limit": 40, "held_out": 7}), tmp_path)
    prompts, held_out = (list(read_jsonl(files[role])) for role in ("prompts", "held_out"))  # type: ignore[index]
    assert (len(prompts), len(held_out)) == (40, 7)
    assert prompts[0]["prompt"][0]["role"] == "user"
    with pytest.raises(BadSettings, match="too small"):
        prepare(recipe(judge=rule, data={"limit": 900_000}), tmp_path)
