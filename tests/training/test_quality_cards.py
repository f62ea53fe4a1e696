"""Quality cards: what is said of a preference model, worked out by hand; and length, measured and taken out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.training.stage_folders import events, run
from tests.training.test_preference_model_architectures import PROMPT, shared_job
from training import preference_models as pm
from training.quality import quality_card
from training.quality.intervals import wilson_interval
from training.quality.quality_card import Scored
from training.run.artifacts import read_json, read_jsonl, write_json, write_jsonl
from training.stages import preference_model as stage


def scored(a: float, b: float, label: float | None = 0.9, human: float | None = None, held_out: bool = True,
           lengths: tuple[int, int] = (5, 5)) -> Scored:
    return Scored((a, b), lengths, label, human, held_out)


def test_mean_and_spread_are_those_of_what_was_learnt_from() -> None:
    card = quality_card.card([scored(1, 3, held_out=False), scored(5, 7, held_out=False), scored(100, 0),
                          scored(50, 0, label=None, held_out=False)])
    assert card["mean"] == 4 and card["std"] == pytest.approx(5 ** 0.5)
    assert (card["trained_on"], card["held_out"], card["decided"]) == (2, 1, 1)


def test_accuracy_is_against_the_judge_and_agreement_against_people() -> None:
    pairs = [scored(1, 0, 0.9, human=1.0), scored(1, 0, 0.9, human=0.0), scored(0, 1, 0.9),
             scored(1, 0, 0.1, human=1.0)]
    card = quality_card.card(pairs)
    assert (card["accuracy"], card["decided"]) == (0.5, 4)
    assert (card["accuracy_low"], card["accuracy_high"]) == wilson_interval(2, 4)
    assert (card["human_agreement"], card["human_n"]) == (pytest.approx(2 / 3), 3)
    assert (card["human_low"], card["human_high"]) == wilson_interval(2, 3)
    assert card["judge_human_agreement"] == pytest.approx(1 / 3)


def test_people_who_chose_nothing_are_not_spoken_of() -> None:
    assert "human_agreement" not in quality_card.card([scored(1, 0), scored(2, 0, held_out=False, human=1.0)])


def test_scores_that_do_not_vary_are_no_infinity() -> None:
    assert quality_card.card([scored(2, 2, held_out=False), scored(2, 2)])["std"] == quality_card.LEAST_SPREAD


def test_the_linear_part_of_length_is_taken_out_and_nothing_else() -> None:
    draw = random.Random(0)
    pairs = []
    for _ in range(200):
        lengths, virtue = (draw.randint(2, 40), draw.randint(2, 40)), (draw.gauss(0, 1), draw.gauss(0, 1))
        pairs.append(scored(0.3 * lengths[0] + virtue[0], 0.3 * lengths[1] + virtue[1], held_out=False,
                            lengths=lengths))
    rise, mean = quality_card.fit_length_bias(pairs)
    assert rise == pytest.approx(0.3, abs=0.02)
    cleaned = quality_card.remove_length_bias(pairs, rise, mean)
    before, after = quality_card.card(pairs), quality_card.card(cleaned)
    assert before["length_correlation"] > 0.9 and after["length_correlation"] == pytest.approx(0, abs=1e-9)
    assert after["mean"] == pytest.approx(before["mean"])
    debiased = quality_card.remove_length_bias([scored(7, 1, lengths=(10, 4))], 0.5, 6)[0]
    assert debiased.raw == (7 - 0.5 * 4, 1 + 0.5 * 2)


def test_principles_that_prefer_alike_correlate(tmp_path: Path) -> None:
    columns = {"detail": [1.0, 2.0, -1.0], "conciseness": [-1.0, -2.0, 1.0], "context": [2.0, 4.0, -2.0]}
    for name, differences in columns.items():
        pairs = [scored(difference, 0.0) for difference in differences]
        quality_card.write_scores(tmp_path / name / "scores.jsonl", ["x", "y", "z"], pairs, mean=0.0, std=0.5)
    correlations = quality_card.score_correlations({name: tmp_path / name for name in columns})
    assert correlations["detail"] == {"conciseness": pytest.approx(-1), "context": pytest.approx(1)}
    assert quality_card.score_correlations({"detail": tmp_path / "detail"}) == {"detail": {}}
    assert quality_card.score_correlations({}) == {}


def test_a_debiased_model_scores_new_responses_as_its_card_says(tiny_base: Path, tmp_path: Path) -> None:
    made = shared_job(tmp_path, tiny_base, "separate", debias_length=True)
    # Where insults alone made a response longer, nothing would be left of the score without length.
    rows = [row | {"a": row["a"] + " Yes." * (n % 4), "b": row["b"] + " No." * (n // 4 % 3)}
            for n, row in enumerate(read_jsonl(made.files["pairs"]))]
    write_jsonl(made.files["pairs"], rows)
    run(stage.run, made, tmp_path)
    card = read_json(tmp_path / "card.json")
    assert card["length_slope"] != 0 and abs(card["length_correlation"]) < 1e-6
    assert abs(card["length_correlation_before"]) > 0.05 and card["std"] > 0.1
    models = pm.PreferenceModels.load({"toxicity": tmp_path})
    for pair, row in zip(rows, read_jsonl(tmp_path / "scores.jsonl"), strict=True):
        assert models.score([pair["prompt"]], [pair["a"]]).item() == pytest.approx(row["z_a"], abs=1e-3)
    write_json(tmp_path / "card.json", card | {"length_slope": 0.0})
    plain = pm.PreferenceModels.load({"toxicity": tmp_path})
    longer = "Yes yes yes yes yes yes."  # six words, a full stop and the end
    off = plain.score_raw([PROMPT], [longer]) - models.score_raw([PROMPT], [longer])
    assert off.item() == pytest.approx(card["length_slope"] * (8 - card["length_mean"]), abs=1e-4)


def test_scores_that_length_alone_explains_are_warned_of(tiny_base: Path, tmp_path: Path) -> None:
    run(stage.run, shared_job(tmp_path, tiny_base, "separate", debias_length=True, epochs=1), tmp_path)
    assert "no_spread" in [event["code"] for event in events(tmp_path, "warning")]


@pytest.mark.parametrize("labels", ["hard", "margin"])
def test_hard_labels_and_margins_are_learnt_too(labels: str, tiny_base: Path, tmp_path: Path) -> None:
    run(stage.run, shared_job(tmp_path, tiny_base, "separate", labels=labels), tmp_path)
    card = read_json(tmp_path / "card.json")
    assert card["accuracy"] == 1.0 and card["labels"] == labels
