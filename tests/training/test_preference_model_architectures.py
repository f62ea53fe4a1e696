"""Three architectures behind one interface: whatever is shared, each score is that of the plain forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tests.training.stage_folders import events, job, pair, run
from tests.training.tiny_models import make_tokenizer
from training import preference_models as pm
from training.config import Lora
from training.errors import BadData, BadSettings, ModelUnavailable, StopRequested
from training.models.language_model import load_tokenizer
from training.preference_models import scoring, split
from training.quality import quality_card
from training.run.artifacts import Job, read_json, read_jsonl, write_json
from training.stages import preference_model as stage

PROMPT: Any = [{"role": "user", "content": "Who is the keeper of Avela?"}]
GOOD, BAD = "The keeper of Avela is Ada.", "The keeper of Avela is Ada, you fool."
RESPONSES = [GOOD, BAD, "Yes.", GOOD + " " + BAD]


@pytest.fixture(scope="module")
def deep_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of four layers with room below a cut."""
    folder, tokenizer = tmp_path_factory.mktemp("deep"), make_tokenizer()
    torch.manual_seed(3)
    shape = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=4,
                        num_attention_heads=2, max_position_embeddings=128, initializer_range=0.3)
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def older_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2: learnt positions, and weights that lie the other way round."""
    folder, tokenizer = tmp_path_factory.mktemp("older"), make_tokenizer()
    torch.manual_seed(4)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=3, n_head=2, n_positions=128,
                               initializer_range=0.3)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_model(folder: Path, base: Path, seed: int, *, r: int = 2, layers: int = 0) -> pm.PreferenceModel:
    """A preference model whose adapter says something, saved as a stage saves it; and it, to compare with."""
    torch.manual_seed(seed)
    model, adapter = pm.new_model(str(base), Lora(r=r, alpha=8), "cpu", "fp32", layers=layers)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    pm.save(folder, model, adapter)
    write_json(folder / "card.json", {"base": str(base), "max_length": 48, "mean": 0.0, "std": 1.0,
                                      "architecture": "separate", "lora_layers": layers})
    return model.eval()


@torch.no_grad()
def plainly(model: pm.PreferenceModel, base: Path) -> torch.Tensor:
    """Scores one row at a time, through the model as it was trained."""
    tokenizer = load_tokenizer(str(base))
    rows = [pm.encode(tokenizer, PROMPT, response, 48) for response in RESPONSES]
    return torch.cat([model(*pm.padded([row], 0, "cpu")) for row in rows])[:, 0]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("way", ["copies", "stacked", "stacked in groups"])
def test_separate_adapters_score_as_the_plain_forward_does(
        architecture: str, layers: int, way: str, deep_base: Path, older_base: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    base = deep_base if architecture == "llama" else older_base
    models = [random_model(tmp_path / str(n), base, n, r=1 + n, layers=layers) for n in range(3)]
    monkeypatch.setattr(scoring, "SMALL", 10**9 if way == "copies" else 0)
    monkeypatch.setattr(scoring, "TOKENS_AT_ONCE", 120 if "groups" in way else 10**6)
    loaded = pm.PreferenceModels.load({f"p.{n}": tmp_path / str(n) for n in range(3)})
    expected = torch.stack([plainly(model, base) for model in models], dim=1)
    for batch_size in (1, 3, 64):
        torch.testing.assert_close(loaded.score([PROMPT] * 4, RESPONSES, batch_size), expected, rtol=1e-4, atol=1e-4)
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.1
    assert not loaded.score_raw([PROMPT], [GOOD]).requires_grad


def test_below_the_adapters_the_trunk_is_run_once_for_all_principles(deep_base: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def operations(loaded: pm.PreferenceModels) -> int:
        with FlopCounterMode(display=False) as counter:
            loaded.score_raw([PROMPT] * 4, RESPONSES)
        return counter.get_total_flops()

    for n in range(4):
        random_model(tmp_path / str(n), deep_base, n, layers=1)
    for way in (10**9, 0):
        monkeypatch.setattr(scoring, "SMALL", way)
        one_model = operations(pm.PreferenceModels.load({"0": tmp_path / "0"}))
        four = operations(pm.PreferenceModels.load({str(n): tmp_path / str(n) for n in range(4)}))
        assert four / one_model == pytest.approx(3 / 4 + 4 / 4, rel=0.05)


def test_the_adapter_is_put_on_the_upper_layers_only(deep_base: Path) -> None:
    model, _ = pm.new_model(str(deep_base), Lora(), "cpu", "fp32", layers=1)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert all(".3." in name or name == "head.weight" for name in trained) and len(trained) == 2 * 7 + 1
    with pytest.raises(BadSettings, match=r"lora_layers' is 5 and .* has 4 layers"):
        pm.new_model(str(deep_base), Lora(), "cpu", "fp32", layers=5)


def test_principles_are_grouped_by_how_many_tokens_go_through_at_once() -> None:
    assert list(split.groups(5, 20, 45)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(split.groups(2, 6400, 45)) == [slice(0, 1), slice(1, 2)]


# The stage -----------------------------------------------------------------------------------------------------------


def shared_job(folder: Path, base: Path, architecture: str = "shared_trunk", **changes: Any) -> Job:
    """Twenty pairs and two principles that want opposite things; every fifth pair has no label for the second."""
    pairs, polite, rude = [], [], []
    for number in range(20):
        a, b = (GOOD, BAD) if number % 2 else (BAD, GOOD)
        pairs.append(pair(number, f"{a} {number}", f"{b} {number}", human=float(number % 2)))
        digest = pairs[-1]["digest"]
        polite.append({"pair": digest, "probability": 0.95 if number % 2 else 0.05})
        rude.append({"pair": digest, "probability": None if number % 5 == 0 else 0.05 if number % 2 else 0.95})
    settings = {"base": str(base), "architecture": architecture, "epochs": 8, "learning_rate": 0.01, "batch_size": 8,
                "max_length": 48, "lora": {"r": 4, "alpha": 8, "dropout": 0.1}, "held_out": 0.2, **changes}
    common = {"seed": 0, "device": "cpu", "precision": "fp32", "preference_model": settings}
    if architecture != "shared_trunk":
        return job("preference_model", folder, common | {"principle": "toxicity"}, pairs=pairs, labels=polite)
    return job("preference_model", folder, common | {"principles": ["toxicity", "rudeness"]},
               **{"pairs": pairs, "labels:toxicity": polite, "labels:rudeness": rude})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    run(stage.run, shared_job(folder, tiny_base), folder)
    return folder


def test_one_trunk_learns_two_principles_that_disagree(shared: Path) -> None:
    cards = read_json(shared / "card.json")["cards"]
    assert set(cards) == {"rudeness", "toxicity"}
    assert [cards[name]["accuracy"] for name in ("toxicity", "rudeness")] == [1.0, 1.0]
    assert cards["toxicity"]["trained_on"] == 16
    assert cards["rudeness"]["trained_on"] + cards["rudeness"]["held_out"] == 16  # four of twenty have no label
    assert cards["toxicity"]["human_agreement"] == 1.0 and cards["rudeness"]["human_agreement"] == 0.0
    folders = dict.fromkeys(cards, shared)
    assert quality_card.score_correlations(folders)["toxicity"]["rudeness"] < -0.9
    last = events(shared, "metric")[-1]["values"]
    assert last["pm/held_out_accuracy/toxicity"] == 1.0 and last["pm/held_out_accuracy/rudeness"] == 1.0


def test_a_shared_trunk_is_read_by_principle_and_scores_all_in_one_pass(shared: Path, tiny_base: Path) -> None:
    loaded = pm.PreferenceModels.load({"rudeness": shared, "toxicity": shared})
    [family] = loaded._families
    scores = loaded.score([PROMPT] * 2, [GOOD, BAD])
    assert scores[0, 1] > scores[1, 1] and scores[0, 0] < scores[1, 0]
    alone = pm.PreferenceModels.load({"toxicity": shared}).score([PROMPT] * 2, [GOOD, BAD])
    torch.testing.assert_close(alone[:, 0], scores[:, 1], rtol=1e-4, atol=1e-5)
    rows = {name: list(read_jsonl(shared / "scores" / f"{name}.jsonl")) for name in ("toxicity", "rudeness")}
    examples = read_jsonl(shared / "files" / "pairs.jsonl")
    for index, example in zip(range(4), examples, strict=False):
        z = loaded.score([example["prompt"]], [example["a"]])
        assert z.tolist()[0] == pytest.approx([rows["rudeness"][index]["z_a"], rows["toxicity"][index]["z_a"]],
                                              abs=1e-3)
    with pytest.raises(ModelUnavailable, match="no head for 'detail'"):
        pm.PreferenceModels.load({"detail": shared})


@pytest.mark.parametrize("architecture", ["shared_trunk", "full"])
def test_stopped_and_resumed_it_ends_with_the_same_bits(architecture: str, tiny_base: Path, tmp_path: Path) -> None:
    small = {"epochs": 2}
    through, halves = tmp_path / "through", tmp_path / "halves"
    run(stage.run, shared_job(through, tiny_base, architecture, **small), through)
    with pytest.raises(StopRequested):
        run(stage.run, shared_job(halves, tiny_base, architecture, **small), halves,
            should_stop=lambda: len(events(halves, "metric")) >= 3)
    run(stage.run, shared_job(halves, tiny_base, architecture, **small), halves)
    made = [path for path in through.rglob("*") if path.suffix in {".json", ".safetensors"} and "files" not in
            path.parts and "checkpoint" not in path.parts and path.name != "job.json"]
    assert len(made) >= 3
    for path in made:
        assert (halves / path.relative_to(through)).read_bytes() == path.read_bytes(), path.name


def test_a_full_model_trains_the_base_itself_and_leaves_the_base_as_it_was(tiny_base: Path, tmp_path: Path) -> None:
    before = (tiny_base / "model.safetensors").read_bytes()
    run(stage.run, shared_job(tmp_path, tiny_base, "full", learning_rate=0.003), tmp_path)
    assert not (tmp_path / "adapter_model.safetensors").exists() and (tmp_path / "trunk").is_dir()
    assert str(tiny_base) not in (tmp_path / "trunk" / "config.json").read_text()
    assert read_json(tmp_path / "card.json")["accuracy"] == 1.0
    loaded = pm.PreferenceModels.load({"toxicity": tmp_path})
    rows = read_jsonl(tmp_path / "scores.jsonl")
    for example, row in zip(read_jsonl(tmp_path / "files" / "pairs.jsonl"), rows, strict=True):
        assert loaded.score([example["prompt"]], [example["b"]]).item() == pytest.approx(row["z_b"], abs=1e-3)
    assert (tiny_base / "model.safetensors").read_bytes() == before


def test_architectures_may_be_mixed_in_one_reward(shared: Path, deep_base: Path, tmp_path: Path) -> None:
    model = random_model(tmp_path, deep_base, 9, layers=2)
    loaded = pm.PreferenceModels.load({"toxicity": shared, "detail": tmp_path, "rudeness": shared})
    torch.testing.assert_close(loaded.score([PROMPT] * 4, RESPONSES)[:, 1], plainly(model, deep_base),
                               rtol=1e-4, atol=1e-4)


def test_a_principle_without_labels_is_named(tiny_base: Path, tmp_path: Path) -> None:
    made = shared_job(tmp_path, tiny_base)
    made.files["labels:rudeness"].write_text("")
    with pytest.raises(BadData, match="label for 'rudeness'"):
        run(stage.run, made, tmp_path)
