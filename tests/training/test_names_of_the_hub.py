"""A hub id names a dataset of the hub and nothing else: no folder, file or format of this machine answers for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id

from training.config.hub_names import is_hub_id
from training.data.data_files import read_hub
from training.data.hub_records import hub_records, refuse_other_places
from training.data.rows import Row
from training.errors import BadData

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["squad", "Anthropic/hh-rlhf", "a/b", "_x/y_", "org.name/data.v2", "a" * 96])
def test_a_name_with_or_without_an_owner_is_a_hub_id(text: str) -> None:
    assert is_hub_id(text)
    validate_repo_id(text)


@pytest.mark.parametrize("text", [
    "", ".", "..", "../data", "./docs", "/etc", "a/../b", "a/..", "a/b/c", "var/uploads/1", "~", "~/data", "-a/b",
    "a/-b", ".hidden/b", "a/.git", "a/b.", "a--b", "a..b", "a/b.git", "a/b/", "/a", "a//b", "a\\b", "C:\\data", "a b",
    "a\n", "file:///etc", "hf://datasets/a/b", "a*", "a/[b]", "däta", "a/b@main", "a\x00b", "a" * 97,
])
def test_a_path_an_address_or_a_pattern_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)
    with pytest.raises(BadData, match="name of a dataset"):
        next(read_hub(text))
    if text not in ("a\x00b", ""):
        with pytest.raises(HFValidationError):
            validate_repo_id(text)


def test_a_folder_of_the_working_directory_is_never_read_for_a_hub_id(tmp_path: Path) -> None:
    for folder in ("docs", "var/uploads", "owner/name", "."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "rows.jsonl").write_text('{"prompt": "A row of somebody else"}\n')
    (tmp_path / "owner" / "name" / "name.py").write_text("raise SystemExit('this ran')\n")
    script = ("from training.data.data_files import read_hub\nfrom training.errors import BadData\n"
              "for name in ('docs', 'nosuch', 'var/uploads', 'owner/name', 'json', 'text'):\n"
              "    try:\n        print(name, list(read_hub(name)))\n"
              "    except BadData as error:\n        print(name, error)\n")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "cache")}

    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
                         check=True, timeout=100)

    lines = run.stdout.splitlines()
    assert "somebody else" not in run.stdout and str(tmp_path) not in run.stdout
    assert [line.split()[0] for line in lines] == ["docs", "nosuch", "var/uploads", "owner/name", "json", "text"]
    # A folder that is there and one that is not have the same answer, so that nobody learns which folders there are.
    assert lines[0].replace("docs", "nosuch") == lines[1]
    assert all("the hub could not be reached" in line for line in lines[:4])
    assert all("name of a file format" in line for line in lines[4:])


@pytest.mark.parametrize("file", [
    "/srv/uploads/1/rows.jsonl", "file:///etc/passwd", "https://10.0.0.1/rows.jsonl", "hf://datasets/other/data@1/a.csv",
    "hf://datasets/org/data-two@1/a.csv", "hf://datasets/org/data@1/../../other/data/a.csv", "zip://a.csv::/srv/a.zip",
])
def test_a_card_that_points_outside_its_repository_is_refused(file: str) -> None:
    with pytest.raises(BadData, match="outside its own repository"):
        refuse_other_places("org/data", ["hf://datasets/org/data@1/train.jsonl", file])


def test_files_of_the_repository_itself_are_taken() -> None:
    refuse_other_places("org/data", ["hf://datasets/org/data@1/train.jsonl",
                                     "zip://train.csv::hf://datasets/org/data@1/all.zip"])


def test_whatever_the_library_raises_is_said_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def broken(*_: object, **__: object) -> object:
        raise KeyError("/srv/concord/var/uploads has no 'features'")
    monkeypatch.setattr(datasets, "load_dataset_builder", broken)

    with pytest.raises(BadData, match="KeyError") as problem:
        next(hub_records("org/data", "train"))
    assert "/srv" not in str(problem.value) and "upload it as a file" in problem.value.remedy


def test_the_hub_is_read_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data.reader_process import read_hub_in_subprocess

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "rows.jsonl").write_text('{"prompt": "A row of somebody else"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))

    with pytest.raises(BadData, match="the hub could not be reached"):
        next(read_hub_in_subprocess("docs", "train"))


@pytest.mark.parametrize("features", [True, False])
def test_the_rows_of_a_dataset_come_as_the_library_streams_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: bool,
) -> None:
    import datasets

    (tmp_path / "rows.jsonl").write_text('{"prompt": "Why?", "n": 1}\n{"prompt": "How?", "n": null}\n')
    load = datasets.load_dataset_builder

    def from_disk(path: str, cache_dir: str) -> datasets.DatasetBuilder:
        assert path == "hf://datasets/org/data"
        columns = datasets.Features({"prompt": datasets.Value("string"), "n": datasets.Value("int64")})
        return load("json", data_files={"train": str(tmp_path / "rows.jsonl")}, cache_dir=cache_dir,
                    features=columns if features else None)
    monkeypatch.setattr(datasets, "load_dataset_builder", from_disk)
    with pytest.raises(BadData, match="outside its own repository"):
        next(hub_records("org/data", "train"))
    monkeypatch.setattr("training.data.hub_records.refuse_other_places", lambda name, files: None)

    assert list(hub_records("org/data", "train")) == [{"prompt": "Why?", "n": 1}, {"prompt": "How?", "n": None}]
    assert [row.prompt[0]["content"] for row in read_hub("org/data") if isinstance(row, Row)] == ["Why?", "How?"]
    with pytest.raises(BadData, match="split 'test'"):
        next(hub_records("org/data", "test"))
