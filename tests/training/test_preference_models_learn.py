"""Preference models: the loss by hand, training that resumes bit for bit, scores that depend on their row alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.stage_folders import events, job, pair, run
from training import preference_models as pm
from training.errors import BadData, ModelUnavailable, StopRequested
from training.models.language_model import load_tokenizer
from training.preference_models import reading_pairs
from training.run.artifacts import Job, read_json, read_jsonl
from training.stages import preference_model as stage

PROMPT: Any = [{"role": "user", "content": "Who is the keeper of Avela?"}]
GOOD, BAD = "The keeper of Avela is Ada.", "The keeper of Avela is Ada, you fool."


def labelled(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs whose insult is on either side, and labels that are sure who is rude."""
    pairs = []
    for number in range(count):
        a, b = (GOOD, BAD) if number % 2 else (BAD, GOOD)
        pairs.append(pair(number, f"{a} {number}", f"{b} {number}", human=float(number % 2)))
    labels = [{"pair": p["digest"], "probability": 0.95 if number % 2 else 0.05} for number, p in enumerate(pairs)]
    return pairs, labels


def job_of(folder: Path, base: Path, count: int = 40, **changes: Any) -> Job:
    pairs, labels = labelled(count)
    settings = {"base": str(base), "epochs": 3, "learning_rate": 0.01, "batch_size": 8, "max_length": 48,
                "lora": {"r": 4, "alpha": 8, "dropout": 0.1}, "held_out": 0.2, **changes}
    common = {"seed": 0, "device": "cpu", "precision": "fp32", "principle": "toxicity"}
    return job("preference_model", folder, common | {"preference_model": settings}, pairs=pairs, labels=labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(stage.run, job_of(folder, tiny_base, epochs=8), folder)
    return folder


def test_the_loss_by_hand() -> None:
    # sigmoid(ln 3) = 3/4: a sure label costs ln 4/3, an undecided one the mean of ln 4/3 and ln 4.
    difference = torch.tensor([math.log(3.0)] * 3)
    loss = pm.soft_bradley_terry(difference, torch.tensor([1.0, 0.5, 0.0]))
    assert loss.tolist() == pytest.approx([math.log(4 / 3), (math.log(4 / 3) + math.log(4)) / 2, math.log(4)])


def test_a_response_too_long_loses_the_beginning_of_its_prompt_and_keeps_its_end(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    uncut = pm.encode(tokenizer, PROMPT, GOOD, 100)
    cut = pm.encode(tokenizer, PROMPT, GOOD, 9)
    assert uncut[-1] == tokenizer.eos_token_id and cut == uncut[-9:]
    assert tokenizer.decode(cut[:-1]).strip() == f"Assistant: {GOOD}"


def test_it_learns_what_the_labels_say(trained: Path) -> None:
    card = read_json(trained / "card.json")
    assert card["accuracy"] == 1.0 and (card["held_out"], card["decided"], card["trained_on"]) == (8, 8, 32)
    assert 0.6 < card["accuracy_low"] < card["accuracy_high"] == 1.0
    rows = list(read_jsonl(trained / "scores.jsonl"))
    assert all((row["z_a"] > row["z_b"]) == (row["human"] == 1.0) for row in rows)
    learnt_from = [z for row in rows if not row["held_out"] for z in (row["z_a"], row["z_b"])]
    assert sum(learnt_from) == pytest.approx(0, abs=1e-3)
    assert sum(z * z for z in learnt_from) / len(learnt_from) == pytest.approx(1, abs=1e-3)
    metrics = events(trained, "metric")
    assert [event["step"] for event in metrics] == list(range(1, 33))  # 4 steps an epoch, 8 epochs
    assert metrics[-1]["values"]["pm/held_out_accuracy"] == 1.0
    assert metrics[-1]["values"]["pm/loss"] < metrics[0]["values"]["pm/loss"]


def test_a_model_that_may_be_no_better_than_chance_is_warned_of(tiny_base: Path, tmp_path: Path) -> None:
    run(stage.run, job_of(tmp_path, tiny_base, count=10, epochs=12), tmp_path)
    card = read_json(tmp_path / "card.json")
    assert (card["decided"], card["accuracy"]) == (2, 1.0) and card["accuracy_low"] < 0.5, "both right, but only two"
    assert [event["code"] for event in events(tmp_path, "warning")] == ["weak_preference_model"]


def test_the_learning_rate_rises_to_its_peak_and_falls_along_a_cosine() -> None:
    assert [stage.rate(step, 4, 44) for step in (0, 1, 3, 4)] == [0.25, 0.5, 1.0, 1.0]
    assert stage.rate(24, 4, 44) == pytest.approx(0.5)
    assert 0 < stage.rate(43, 4, 44) < 0.01


def test_each_epoch_over_the_pairs_has_its_own_order(tiny_base: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[str]] = []
    backward = stage._backward

    def watched(reader: Any, batch: Any, *arguments: Any) -> Any:
        batches.append([example.digest for example in batch])
        return backward(reader, batch, *arguments)

    monkeypatch.setattr(stage, "_backward", watched)
    run(stage.run, job_of(tmp_path, tiny_base, count=20, epochs=2), tmp_path)
    first, second = batches[0] + batches[1], batches[2] + batches[3]
    assert len(batches) == 4 and sorted(first) == sorted(second) and first != second


def test_held_out_prompts_are_the_same_for_every_principle(trained: Path, tiny_base: Path, tmp_path: Path) -> None:
    made = job_of(tmp_path, tiny_base, epochs=1)
    made = made.model_copy(update={"settings": made.settings | {"principle": "detail"}})
    run(stage.run, made, tmp_path)
    assert ([row["held_out"] for row in read_jsonl(tmp_path / "scores.jsonl")]
            == [row["held_out"] for row in read_jsonl(trained / "scores.jsonl")])


def test_stopped_and_resumed_it_ends_with_the_same_bits(tiny_base: Path, tmp_path: Path) -> None:
    run(stage.run, job_of(tmp_path / "through", tiny_base), tmp_path / "through")
    halves = tmp_path / "halves"
    with pytest.raises(StopRequested):
        run(stage.run, job_of(halves, tiny_base), halves, should_stop=lambda: len(events(halves, "metric")) >= 5)
    torch.rand(7)  # whatever happens in between
    run(stage.run, job_of(halves, tiny_base), halves)
    for name in ("adapter_model.safetensors", "head.safetensors", "card.json", "scores.jsonl"):
        assert (halves / name).read_bytes() == (tmp_path / "through" / name).read_bytes(), name
    assert [event["step"] for event in events(halves, "rewind")] == [0, 5]
    assert [event["values"] for event in events(halves, "metric")] == [
        event["values"] for event in events(tmp_path / "through", "metric")]


def test_one_pass_or_several_make_the_same_step(tiny_base: Path, monkeypatch: pytest.MonkeyPatch,
                                                tmp_path: Path) -> None:
    sure = {"lora": {"r": 4, "alpha": 8, "dropout": 0.0}, "epochs": 1}
    run(stage.run, job_of(tmp_path / "one", tiny_base, **sure), tmp_path / "one")
    monkeypatch.setattr(reading_pairs, "tokens_at_once", lambda *_: 100)
    run(stage.run, job_of(tmp_path / "several", tiny_base, **sure), tmp_path / "several")
    one_batch, several = ([event["values"]["pm/loss"] for event in events(tmp_path / name, "metric")]
                    for name in ("one", "several"))
    assert one_batch == pytest.approx(several, rel=1e-4)


def test_what_is_trained_is_what_is_saved(tiny_base: Path, tmp_path: Path) -> None:
    """Without dropout base and adapter are summed up for training: the sum keeps up with the adapter."""
    run(stage.run, job_of(tmp_path, tiny_base, lora={"r": 4, "alpha": 8, "dropout": 0.0}), tmp_path)
    assert read_json(tmp_path / "card.json")["accuracy"] == 1.0
    loaded = pm.PreferenceModels.load({"toxicity": tmp_path})
    for example, row in zip(read_jsonl(tmp_path / "files" / "pairs.jsonl"), read_jsonl(tmp_path / "scores.jsonl"),
                            strict=True):
        scores = loaded.score([example["prompt"]] * 2, [example["a"], example["b"]]).flatten().tolist()
        assert scores == pytest.approx([row["z_a"], row["z_b"]], abs=1e-3)


def test_labels_that_people_corrected_win(tiny_base: Path, tmp_path: Path) -> None:
    made = job_of(tmp_path, tiny_base, count=4)
    tokenizer = load_tokenizer(str(tiny_base))
    judged = made.model_copy(update={"files": {"pairs": made.files["pairs"]},
                                     "inputs": {"label": made.files["labels"].parent}})
    assert [e.labels for e in stage.read_examples(judged, tokenizer, 48)] == [(0.05,), (0.95,), (0.05,), (0.95,)]
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text(made.files["labels"].read_text().replace("0.95", "0.0").replace("0.05", "null", 1))
    judged = judged.model_copy(update={"files": {"pairs": made.files["pairs"], "labels": corrected}})
    assert [e.labels for e in stage.read_examples(judged, tokenizer, 48)] == [(0.0,), (0.05,), (0.0,)]


def test_too_few_pairs_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="too few to train on"):
        run(stage.run, job_of(tmp_path, tiny_base, count=1), tmp_path)


def test_a_row_is_scored_alike_alone_and_among_others(trained: Path) -> None:
    models = pm.PreferenceModels.load({"toxicity": trained, "again": trained})
    responses = [GOOD, BAD, "Yes.", GOOD + " " + BAD]
    together = models.score([PROMPT] * 4, responses, batch_size=3)
    alone = torch.cat([models.score([PROMPT], [response]) for response in responses])
    assert models.names == ["toxicity", "again"] and together.shape == (4, 2)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[:, 0], together[:, 1])
    assert together[0, 0] > together[1, 0]


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"holds no card.json"):
        pm.PreferenceModels.load({"toxicity": tmp_path})
