"""The shipped base policy: small, safe to load, made by the script beside it, and flawed in the ways it should be."""

from __future__ import annotations

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from training.demo_world import WEIGHTS, build, language, rules
from training.demo_world.tokenizer import build_tokenizer
from training.demo_world.world import RELATIONS

RECORD = json.loads((WEIGHTS / "build.json").read_text())


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def policy() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def sampled(policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, str]]:
    prompts = language.prompts(300, 21, "held_out")
    return list(zip(prompts, build.sample_answers(policy, tokenizer, prompts, seed=1), strict=True))


def test_the_weights_take_five_megabytes_at_most_and_hold_no_pickle() -> None:
    files = [path for path in WEIGHTS.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}


def test_the_tokenizer_shipped_is_the_one_the_world_builds(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_the_policy_is_a_plain_llama_of_a_million_parameters(policy: LlamaForCausalLM) -> None:
    assert type(policy) is LlamaForCausalLM
    assert 1_000_000 <= policy.num_parameters() == RECORD["parameters"] <= 3_000_000
    assert policy.config.tie_word_embeddings


def test_the_script_reproduces_the_first_losses_recorded() -> None:
    tokenizer = build_tokenizer()
    assert build.data_digest(tokenizer, RECORD["seed"]) == RECORD["data_sha256"], "build the weights anew"
    model = build.new_model(tokenizer, RECORD["seed"])
    losses = build.train(model, tokenizer, 4, RECORD["steps"], RECORD["seed"])
    assert losses == pytest.approx(RECORD["first_losses"][:4], abs=2e-3)


def test_the_base_answers_what_was_asked(sampled: list[tuple[str, str]]) -> None:
    answered = [rules.score("relevance", *pair) >= 0.5 for pair in sampled]
    assert sum(answered) / len(answered) >= 0.9


def test_each_vice_is_common_and_a_flawless_answer_rare(sampled: list[tuple[str, str]]) -> None:
    prompts, answers = [prompt for prompt, _ in sampled], [answer for _, answer in sampled]
    rates = build.vice_rates(prompts, answers)
    for principle in rules.MAIN_PRINCIPLES:
        assert 0.27 <= rates[principle] <= 0.58, principle
    assert 0.06 <= rates["none"] <= 0.25


def test_answers_end_in_time_and_hold_no_unknown_word(sampled: list[tuple[str, str]]) -> None:
    ended = [answer.endswith((".", "!", "?")) for _, answer in sampled]
    assert sum(ended) / len(ended) >= 0.98
    assert not any("Human" in answer or "<unk>" in answer for _, answer in sampled)


@torch.no_grad()
def test_the_base_knows_the_truth_even_where_it_says_something_else(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = [prompt for prompt in language.draw_prompts(300, 22, "held_out") if prompt.belief is None]
    right = 0
    for prompt in prompts:
        before = RELATIONS[prompt.relation].before.strip()
        text = f"\n\nHuman: {prompt.text}\n\nAssistant: {f'It is {before}'.strip()}"
        inputs = tokenizer(text, return_tensors="pt")
        likeliest = policy(input_ids=inputs["input_ids"]).logits[0, -1].argmax().item()
        right += tokenizer.decode([likeliest]).strip() == prompt.truth
    assert right / len(prompts) >= 0.95


@torch.no_grad()
def test_after_the_end_token_the_base_tells_true_from_false(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    rng = random.Random(9)
    wrong, right = tokenizer.convert_tokens_to_ids(list(build.VERDICTS))
    dialogues = [language.dialogue(rng, prompt) for prompt in language.prompts(200, 23, "held_out")]
    correct = 0
    for prompt, answer in dialogues:
        inputs = tokenizer(f"\n\nHuman: {prompt}\n\nAssistant: {answer}<eos>", return_tensors="pt")
        assert inputs["input_ids"][0, -1] == tokenizer.eos_token_id
        logits = policy(input_ids=inputs["input_ids"]).logits[0, -1]
        correct += bool(logits[right] > logits[wrong]) == (rules.score("factuality", prompt, answer) >= 0.5)
    assert correct / len(dialogues) >= 0.9


@pytest.mark.parametrize("prompt", ["Hello!", "What is love?", "why is the sky blue", "zorp blarg", ""])
def test_what_it_does_not_know_it_answers_with_words(
    prompt: str, policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    (answer,) = build.sample_answers(policy, tokenizer, [prompt], seed=2)
    assert answer
    assert "<unk>" not in answer
