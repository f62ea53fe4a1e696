"""Learning curves: nested parts, points worked out by hand, and a model that is the same with its curve or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.stage_folders import events, run
from tests.training.test_preference_models_learn import job_of
from training.errors import StopRequested
from training.quality import learning_curve
from training.quality.intervals import wilson_interval
from training.run.artifacts import read_json
from training.stages import preference_model as stage

COUNT = 120  # pairs, of which 96 are learnt from


def test_each_part_lies_within_the_next_and_the_seed_draws_it() -> None:
    pairs = list(range(96))
    digests = [f"{number:032d}" for number in pairs]
    eighth, quarter, half = learning_curve.parts(pairs, digests, seed=0)
    assert (len(eighth), len(quarter), len(half)) == (12, 24, 48)
    assert set(eighth) < set(quarter) < set(half)
    assert learning_curve.parts(pairs, digests, seed=0)[0] == eighth != learning_curve.parts(pairs, digests, seed=1)[0]


def test_a_part_of_few_pairs_is_no_point() -> None:
    assert [len(part) for part in learning_curve.parts(list(range(20)), list(map(str, range(20))), seed=0)] == [10]


def test_points_and_the_last_doubling_by_hand() -> None:
    truth = [0.9, 0.9, 0.9, 0.1, 0.1, 0.5]  # the last is undecided and counts for nobody
    card = learning_curve.curve([10, 20], [[1, -1, -1, 1, -1, 9], [1, 1, 1, -1, 1, -9]], truth)
    first, second = card["learning_curve"]
    assert (first["labels"], first["accuracy"], second["labels"], second["accuracy"]) == (10, 0.4, 20, 0.8)
    assert (second["low"], second["high"]) == wilson_interval(4, 5)
    # Three won, one lost: as uneven as that or more by chance, 2 (1 + 4) / 2^4.
    assert card["last_doubling"] == {"won": 3, "lost": 1, "p": pytest.approx(10 / 16)}


def test_models_that_tell_the_same_pairs_have_nothing_won() -> None:
    card = learning_curve.curve([1, 2], [[1.0, -1.0], [2.0, -2.0]], [0.9, 0.9])
    assert card["last_doubling"] == {"won": 0, "lost": 0, "p": 1.0}


@pytest.fixture(scope="module")
def with_curve(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    run(stage.run, job_of(folder, tiny_base, COUNT, learning_curve=True), folder)
    return folder


def test_the_card_holds_a_point_a_part_and_the_model_itself(with_curve: Path) -> None:
    card = read_json(with_curve / "card.json")
    assert [point["labels"] for point in card["learning_curve"]] == [12, 24, 48, 96]
    last = card["learning_curve"][-1]
    assert (last["accuracy"], last["low"]) == (card["accuracy"], card["accuracy_low"])
    measured = [part["differences"][0] for part in read_json(with_curve / stage.CURVE)]
    assert [len(indices) for indices in measured] == [24, 24, 24], "all are measured on the pairs that are held out"
    assert measured[0] != measured[1] != measured[2], "a model for each part"
    assert not (with_curve / "parts").exists()


def test_the_model_is_the_same_to_the_bit_without_its_curve(
        with_curve: Path, tiny_base: Path, tmp_path: Path) -> None:
    run(stage.run, job_of(tmp_path, tiny_base, COUNT), tmp_path)
    for name in ("adapter_model.safetensors", "head.safetensors", "scores.jsonl"):
        assert (tmp_path / name).read_bytes() == (with_curve / name).read_bytes(), name
    assert "learning_curve" not in read_json(tmp_path / "card.json")
    assert [event["values"] for event in events(tmp_path, "metric")] == [
        event["values"] for event in events(with_curve, "metric")]


def test_stopped_in_a_part_it_goes_on_to_the_same_curve(with_curve: Path, tiny_base: Path, tmp_path: Path) -> None:
    asked = iter(range(100))
    with pytest.raises(StopRequested):  # the first part takes six steps, the second nine
        run(stage.run, job_of(tmp_path, tiny_base, COUNT, learning_curve=True), tmp_path,
            should_stop=lambda: next(asked) == 10)
    assert len(read_json(tmp_path / stage.CURVE)) == 1
    run(stage.run, job_of(tmp_path, tiny_base, COUNT, learning_curve=True), tmp_path)
    assert (tmp_path / "card.json").read_bytes() == (with_curve / "card.json").read_bytes()
