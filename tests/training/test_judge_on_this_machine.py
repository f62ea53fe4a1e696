"""A judge that is a model on this machine: A and B by their probabilities, what questions share computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny_families import make_family
from training.config import DEMO_WORLD, JudgeSettings
from training.errors import BadSettings
from training.judges.judge import PairQuestion
from training.models import language_model
from training.models.language_model import LanguageModel
from training.models.local_judge import first_share, next_logprobs
from training.models.stage_judge import make_stage_judge


@pytest.fixture(scope="module")
def language() -> LanguageModel:
    return language_model.load(DEMO_WORLD, torch.device("cpu"))


def test_what_questions_share_changes_no_probability(language: LanguageModel) -> None:
    ids = language.tokenizer("Who is the keeper of Avela ? The keeper of Avela is Ada .")["input_ids"]
    sequences = [ids[:9], [*ids[:5], *ids[7:9]], [*ids[:5], ids[2]], ids[:12]]
    together = next_logprobs(language, sequences)
    alone = torch.cat([next_logprobs(language, [sequence]) for sequence in sequences])
    plain = torch.stack([language.model(torch.tensor([sequence])).logits[0, -1].log_softmax(-1)
                         for sequence in sequences])
    assert torch.allclose(together, alone, atol=1e-4) and torch.allclose(together, plain, atol=1e-4)


@pytest.mark.parametrize("family", ["mistral", "gpt2", "mamba", "qwen3_5"])
def test_questions_share_what_they_can_in_every_family(family: str, tmp_path: Path) -> None:
    language = language_model.load(make_family(family, tmp_path), torch.device("cpu"))
    shared = list(range(5, 17))
    sequences = [[*shared, 20, 21], [*shared, 22], [*shared, 20, 23, 24, 25, 26]]
    plain = torch.stack([language.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                         for ids in sequences])
    assert torch.allclose(next_logprobs(language, sequences), plain, atol=1e-3)


def test_a_letters_probability_is_that_of_all_its_spellings() -> None:
    logprobs = torch.tensor([0.3, 0.15, 0.05, 0.5]).log()
    assert first_share(logprobs, {"A": [0], "B": [1, 2]}) == pytest.approx(0.6)
    assert first_share(logprobs, {"A": [2], "B": []}) is None


async def test_a_model_that_knows_no_letters_is_an_error_and_no_guess() -> None:
    judge = make_stage_judge(JudgeSettings(kind="local", model=DEMO_WORLD))
    [verdict] = await judge.compare([PairQuestion([{"role": "user", "content": "Who?"}], "Ada.", "Bo.", "kinder")])
    assert verdict.probability is None and verdict.error.startswith("unreadable") and verdict.calls == 2


async def test_a_question_longer_than_the_judge_is_refused_alone(tmp_path: Path) -> None:
    judge = make_stage_judge(JudgeSettings(kind="local", model=str(make_family("gpt2", tmp_path / "short"))))
    long = PairQuestion([{"role": "user", "content": "Who? " * 50}], "Ada.", "Bo.", "kinder")
    verdicts = await judge.compare([long])
    assert "tokens, and the judge 48 positions" in verdicts[0].error and verdicts[0].probability is None


def test_a_local_judge_does_not_think() -> None:
    with pytest.raises(BadSettings, match="does not think"):
        make_stage_judge(JudgeSettings(kind="local", model="x", reasoning=True))
