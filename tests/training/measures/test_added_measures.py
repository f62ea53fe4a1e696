"""Measures of a team's own, from an installed package; here a distribution of two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.config.measure import Added
from training.errors import BadSettings, MeasureFailed
from training.measures import added, added_measures, make_measure, version_of

CODE = '''
def shouting(prompt, response):
    return sum(letter.isupper() for letter in response) / max(1, len(response))

def answers(prompt, response):
    return prompt[-1]["content"] in response

def broken(prompt, response):
    return float("nan") if response else 1 / 0

number = 3
'''
ENTRIES = """[concord.measures]
shouting = house_measures:shouting
answers = house_measures:answers
broken = house_measures:broken
number = house_measures:number
gone = house_measures:gone
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house_measures.py").write_text(CODE)
    information = tmp_path / "house_measures-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: house-measures\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    added.load.cache_clear()


def setting(name: str) -> Added:
    return Added(kind="added", name=name)


def test_it_is_found_by_its_name_and_measures() -> None:
    assert {"shouting", "answers"} <= set(added_measures())
    assert make_measure(setting("shouting"))([], "AbCd") == 0.5
    assert make_measure(setting("answers"))([{"role": "user", "content": "salt"}], "with salt") == 1.0


def test_its_package_is_part_of_its_version() -> None:
    assert version_of(setting("shouting")).endswith(", house-measures 1.2")
    assert version_of(setting("absent")).endswith(", unknown")


@pytest.mark.parametrize(("name", "words"), [
    ("absent", "'absent' is not installed on this machine; installed: .*shouting.* Install the package"),
    ("gone", "'gone' .* cannot be imported"), ("number", "'number' .* is no function")])
def test_what_cannot_measure_is_refused(name: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        make_measure(setting(name))


@pytest.mark.parametrize(("response", "words"), [("x", "'broken' returned nan"), ("", "'broken' failed: ZeroDivision")])
def test_what_is_no_number_is_named(response: str, words: str) -> None:
    with pytest.raises(MeasureFailed, match=words):
        make_measure(setting("broken"))([], response)
