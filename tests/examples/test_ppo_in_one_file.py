"""The algorithm in one file: it learns, its formulas are the engine's, and it stays short and on its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples import ppo_in_one_file as example
from training.demo_world import WEIGHTS, language
from training.ppo import policy_gradient as pg

FILE = Path(example.__file__)
ALLOWED = {"training.demo_world": {"WEIGHTS", "language", "rules"}}
MARGIN = 0.3
"""Of the standardised reward: three standard errors of a phase's mean, about half of what four phases gain."""
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def gain(history: example.History) -> float:
    """How far the mean reward of the last two phases is above the first phase's."""
    return sum(history.reward[-2:]) / 2 - history.reward[0]


@pytest.mark.long
def test_the_reward_rises_and_so_does_the_judge_that_the_policy_never_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "QUESTIONS", 200)
    history = example.main(phases=4, seed=1)
    assert gain(history) > MARGIN
    assert history.judge[-1] > history.judge[0] + 0.08
    assert all(history.principles[-1][name] > history.principles[0][name] for name in example.PRINCIPLES)
    assert history.kl[0] == 0.0 < history.kl[-1] < 5.0


@pytest.mark.long
def test_without_learning_the_margin_is_not_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(example, "QUESTIONS", 100)
    monkeypatch.setattr(example, "EPOCHS", 1)
    history = example.main(phases=3, seed=1, learning_rate=0.0)
    assert abs(gain(history)) < MARGIN
    assert history.kl == [0.0] * 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["phase", str(i)] for i in range(1, 4)]
    assert lines[-1] == f"reward: {history.reward[0]:.2f} -> {history.reward[-1]:.2f} kl: 0.0"


def test_an_answer_is_as_likely_alone_as_beside_longer_prompts() -> None:
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(WEIGHTS), AutoTokenizer.from_pretrained(WEIGHTS)
    value_head = nn.Linear(policy.config.hidden_size, 1)
    torch.manual_seed(0)
    answers = example.sample(policy, tokenizer, ["Hi!", *language.prompts(3, 0, "train")])
    together = example.logprobs_and_values(policy, value_head, answers)
    prompt_length = answers.tokens.shape[1] - answers.mask.shape[1]
    for row in range(4):
        padding = int((answers.attention[row, :prompt_length] == 0).sum())
        length = int(answers.mask[row].sum())
        end = prompt_length + length
        alone = example.Answers(answers.tokens[row:row + 1, padding:end], answers.attention[row:row + 1, padding:end],
                                answers.mask[row:row + 1, :length], answers.texts[row:row + 1])
        for of_batch, of_row in zip(together, example.logprobs_and_values(policy, value_head, alone), strict=True):
            torch.testing.assert_close(of_batch[row, :length], of_row[0], atol=1e-4, rtol=1e-4)
            assert not of_batch[row, length:].any()
    assert int((answers.attention[0, :prompt_length] == 0).sum()) > 0, "the first prompt is padded"


def test_an_answer_ends_at_its_end_token_and_padding_follows() -> None:
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(WEIGHTS), AutoTokenizer.from_pretrained(WEIGHTS)
    torch.manual_seed(0)
    answers = example.sample(policy, tokenizer, language.prompts(8, 0, "train"))
    for response, mask in zip(answers.tokens[:, -answers.mask.shape[1]:].tolist(), answers.mask.tolist(), strict=True):
        length = int(sum(mask))
        assert tokenizer.eos_token_id not in response[:length - 1]
        assert response[length - 1] == tokenizer.eos_token_id or length == example.MAX_NEW_TOKENS
        assert set(response[length:]) <= {tokenizer.pad_token_id}
        assert mask == [1.0] * length + [0.0] * (len(mask) - length)


def test_its_formulas_are_those_of_the_engine() -> None:
    torch.manual_seed(0)
    logprobs, old, values, log_ratio = (torch.randn(2, 3) * MASK for _ in range(4))
    reward = torch.tensor([1.0, -2.0])
    rewards = example.token_rewards(reward, log_ratio, MASK)
    torch.testing.assert_close(rewards, pg.token_rewards(reward, log_ratio, MASK, example.KL_COEFFICIENT))
    advantages, returns = example.advantages_and_returns(rewards, values, MASK)
    expected = pg.advantages_and_returns(rewards, values, MASK, example.GAMMA, example.LAMBDA)
    torch.testing.assert_close((advantages, returns), expected)
    white = example.whiten(advantages, MASK)
    torch.testing.assert_close(white, pg.masked_whiten(advantages, MASK))
    loss, clipped = pg.policy_loss(logprobs, old, white, MASK, example.CLIP)
    assert clipped > 0
    torch.testing.assert_close(example.ppo_loss(logprobs, old, white, MASK), loss / MASK.sum())


def test_a_scalarization_is_the_weighted_sum_or_the_worst() -> None:
    scores = torch.tensor([[1.0, -1.0], [2.0, 4.0]])
    assert example.scalarize(scores, worst_case=False).tolist() == [0.0, 3.0]
    assert example.scalarize(scores, worst_case=True).tolist() == [-1.0, 2.0]


def test_it_has_fewer_than_250_lines_and_takes_only_the_demo_world_from_the_project() -> None:
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 250
    imports: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            imports.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            imports.update({alias.name: set() for alias in node.names})
    of_the_project = {module: names for module, names in imports.items()
                      if module.split(".")[0] in {"", "training", "webapp", "workers", "tests", "examples"}}
    assert of_the_project == ALLOWED
    assert {module.split(".")[0] for module in imports} - {"training"} == {
        "__future__", "argparse", "copy", "typing", "torch", "transformers"}
