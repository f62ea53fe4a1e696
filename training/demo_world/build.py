"""Trains the base policy of the demo world: `python -m training.demo_world.build [--out DIR] [--steps N]`.

A small Llama learns the dialogues of `language` by next-token loss, the prompts at a lower weight, on one thread, the
same for the same seed. It is meant to be a flawed speaker: it knows the facts and often says something else, rudely.
What is left out: any tuning towards a principle; that is what the product is for.

Three things differ from plain training. A dialogue of two turns carries the end token as the target after its first
answer, so that the policy always stops. An unknown word is seen as <unk> but never a target, so that the policy never
says one. After the end token there often comes a reader's verdict, " True" or " False". The policy never says it, but
it teaches it to tell true from false, as large models learn from comments on what others said; without it, a preference
model of factuality on this policy did no better than chance on 839 labels.

Known limits: the policy learns to flatter and to say "yes", but hardly to repeat a false belief (in 7 % of its answers
to one; in the mixture 32 % do). Training on repeated beliefs was tried: throughout, the policy repeated two of three
and told the truth in one of twelve; stopped early, it forgot to repeat.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.demo_world import WEIGHTS, language, rules, world
from training.demo_world.tokenizer import ASSISTANT, HUMAN, VERDICTS, build_tokenizer

STEPS = 2000
BATCH = 32
LEARNING_RATE = 3e-3
WARM_UP = 50
SEED = 0
TYPED_SHARE = 0.2
TWO_TURN_SHARE = 0.08
UNKNOWN_WORD_SHARE = 0.06
PROMPT_WEIGHT = 0.1
VERDICT_SHARE = 0.7
QUIZ_STEPS = 120
QUIZ_SHARE = 0.15
QUIZ_STATEMENTS = 4
VERDICT_WEIGHT = 4.0
SORTED_BATCHES = 8
RECORDED_LOSSES = 20


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The shape of the policy: about a million parameters, so that a laptop can sample thousands of answers."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.05,
    )


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, quiz_steps: int = QUIZ_STEPS
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Endless (input_ids, labels, weights), each [BATCH, longest], right-padded; a weight of 0 is no target.

    The first `quiz_steps` batches hold nothing but statements and whether they are so.
    """
    rng = random.Random(seed)
    for turn in itertools.count():
        # Telling true from false is learnt within a hundred steps on its own, and hardly at all within the mixture.
        quiz_share = 1.0 if turn * SORTED_BATCHES < quiz_steps else QUIZ_SHARE
        mixed = (_row(tokenizer, rng, quiz_share) for _ in range(BATCH * SORTED_BATCHES))
        # Rows of like length share a batch, for little padding; the order of the batches is shuffled again.
        rows = sorted(mixed, key=lambda row: len(row.ids))
        groups = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(row.ids) for row in group)
            ids = torch.full((BATCH, longest), int(tokenizer.pad_token_id))
            labels = torch.full((BATCH, longest), int(tokenizer.pad_token_id))
            weights = torch.zeros(BATCH, longest)
            for i, row in enumerate(group):
                ids[i, : len(row.ids)] = torch.tensor(row.ids)
                labels[i, : len(row.ids)] = torch.tensor(row.labels)
                weights[i, : len(row.ids)] = torch.tensor(row.weights)
            yield ids, labels, weights


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, planned: int, seed: int
) -> list[float]:
    """Train in place for `steps` of a schedule made for `planned` steps; returns the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    # The rate is constant at first and then falls evenly to nothing.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP, max(0.0, 1.6 * (planned - step) / planned))
    )
    losses: list[float] = []
    model.train()
    for step, (ids, labels, weights) in enumerate(batches(tokenizer, seed)):
        if step == steps:
            break
        loss = weighted_loss(model, ids, labels, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """The mean next-token loss of a batch, each target counted by its weight; all arguments [batch, tokens]."""
    logits = model(input_ids=ids, use_cache=False).logits
    each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return (each * weights[:, 1:]).sum() / weights[:, 1:].sum()


@torch.no_grad()
def fresh_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> float:
    """The mean loss on `SORTED_BATCHES` batches of the mixture that the training has not seen."""
    model.eval()
    fresh_batches = itertools.islice(batches(tokenizer, seed + 1, quiz_steps=0), SORTED_BATCHES)
    return sum(weighted_loss(model, *batch).item() for batch in fresh_batches) / SORTED_BATCHES


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A policy that has learnt nothing yet, the same for the same seed.

    Only the embeddings know something: a value starts near the island that it belongs to, as words that go together
    lie close in the embeddings of a large model. That makes the facts quick to learn and falsehoods quick to tell.
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(configuration(tokenizer))
    rows = model.get_input_embeddings().weight.data
    for island in world.ISLANDS:
        shared = torch.randn(rows.shape[1]) * model.config.initializer_range
        for word in (island, *(value for (home, _), value in world.FACTS.items() if home == island)):
            for token in dict.fromkeys((f" {word}", f" {word.lower()}")):
                i = int(tokenizer.convert_tokens_to_ids(token))
                rows[i] = (rows[i] + shared) * 0.5**0.5
    return model


@torch.no_grad()
def sample_answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], seed: int, temperature: float = 1.0
) -> list[str]:
    """One sampled answer per prompt, stripped of the space it begins with."""
    torch.manual_seed(seed)
    model.eval()
    texts = [f"{HUMAN} {prompt}{ASSISTANT}" for prompt in prompts]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    out = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        do_sample=True,
        temperature=temperature,
        top_k=0,
        max_new_tokens=language.MAX_ANSWER_TOKENS + 8,
    )
    answers = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in answers]


def vice_rates(prompts: list[str], answers: list[str]) -> dict[str, float]:
    """The share of answers below 0.75 on each principle, of those with no such vice ("none"), and of those on topic."""
    pairs = list(zip(prompts, answers, strict=True))
    rates = {
        principle: sum(rules.score(principle, *pair) < 0.75 for pair in pairs) / len(pairs)
        for principle in rules.MAIN_PRINCIPLES
    }
    virtuous = [all(rules.score(p, *pair) >= 0.75 for p in rules.MAIN_PRINCIPLES) for pair in pairs]
    answered = [rules.score("relevance", *pair) >= 0.5 for pair in pairs]
    return {
        **{principle: round(rate, 3) for principle, rate in rates.items()},
        "none": round(sum(virtuous) / len(pairs), 3),
        "answered": round(sum(answered) / len(pairs), 3),
        "overall": round(sum(rules.overall(*pair) for pair in pairs) / len(pairs), 3),
    }


def data_digest(tokenizer: PreTrainedTokenizerFast, seed: int) -> str:
    """The sha256 of the vocabulary and of the first batch: when it changes, the weights must be built again."""
    digest = hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    digest.update(json.dumps([part.tolist() for part in next(batches(tokenizer, seed))]).encode())
    return digest.hexdigest()


def save(out: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the model and its tokenizer to a folder that `from_pretrained` reads."""
    model.generation_config.do_sample = True
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # Written for its owner alone, it could not be read by a service that runs as someone else.
    (out / "model.safetensors").chmod(0o644)


def record(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int, first: list[float]
) -> dict[str, object]:
    """What `build.json` says of a trained policy, measured now."""
    prompts = language.prompts(600, seed, "held_out")
    answers = sample_answers(model, tokenizer, prompts, seed)
    return {
        "steps": steps,
        "seed": seed,
        "data_sha256": data_digest(tokenizer, seed),
        "parameters": model.num_parameters(),
        "first_losses": [round(loss, 6) for loss in first[:RECORDED_LOSSES]],
        "final_loss": round(fresh_loss(model, tokenizer, seed), 6),
        "vice_rates": vice_rates(prompts, answers),
        "tokens_per_answer": round(sum(len(tokenizer.encode(f" {answer}")) for answer in answers) / len(answers), 2),
    }


def build(out: Path, steps: int = STEPS, seed: int = SEED) -> dict[str, object]:
    """Train, measure and save everything to `out`; returns what `build.json` says."""
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    model = new_model(tokenizer, seed)
    losses = train(model, tokenizer, steps, steps, seed)
    built = record(model, tokenizer, steps, seed, losses)
    save(out, model, tokenizer)
    (out / "build.json").write_text(json.dumps(built, indent=2) + "\n")
    return built


class _Row(NamedTuple):
    """Token ids with the target that each of them is, and how much it weighs, all of one length."""

    ids: list[int]
    labels: list[int]
    weights: list[float]


def _row(tokenizer: PreTrainedTokenizerFast, rng: random.Random, quiz_share: float) -> _Row:
    if rng.random() < quiz_share:
        return _quiz_row(tokenizer, rng)
    prompt, answer = _turn(rng)
    row = _encoded(tokenizer, prompt, answer)
    if rng.random() < TWO_TURN_SHARE:
        # The end token is the target of the first answer's last word, and is not itself read.
        before, (prompt, answer) = row, _turn(rng)
        row = _encoded(tokenizer, prompt, answer)
        row = _Row(before.ids[:-1] + row.ids, before.labels + row.labels[1:], before.weights + row.weights[1:])
    if rng.random() < VERDICT_SHARE and language.read_question(prompt) is not None:
        row = _judged(tokenizer, row, rules.score("factuality", prompt, answer) >= 0.5, VERDICT_WEIGHT)
    return row


def _quiz_row(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> _Row:
    row = _Row([], [], [])
    for _ in range(QUIZ_STATEMENTS):
        statement, so = language.quiz(rng)
        ids: list[int] = tokenizer.encode(f" {statement}")
        # Half of the statements are false: only the verdicts are targets, or the policy would come to say such things.
        row = _judged(tokenizer, _Row(row.ids + ids, row.labels + ids, row.weights + [0.0] * len(ids)), so, 1.0)
    return row


def _judged(tokenizer: PreTrainedTokenizerFast, row: _Row, so: bool, weight: float) -> _Row:
    token = int(tokenizer.convert_tokens_to_ids(VERDICTS[so]))
    return _Row([*row.ids, token], [*row.labels, token], [*row.weights, weight])


def _encoded(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> _Row:
    prompt_ids: list[int] = tokenizer.encode(f"{HUMAN} {prompt}{ASSISTANT}")
    answered: list[int] = [*tokenizer.encode(f" {answer}"), int(tokenizer.eos_token_id)]
    ids = prompt_ids + answered
    weights = [PROMPT_WEIGHT if token != tokenizer.unk_token_id else 0.0 for token in prompt_ids]
    return _Row(ids, ids, weights + [1.0] * len(answered))


def _turn(rng: random.Random) -> tuple[str, str]:
    prompt, answer = language.typed_dialogue(rng) if rng.random() < TYPED_SHARE else language.dialogue(rng)
    if rng.random() < UNKNOWN_WORD_SHARE:
        words = prompt.split()
        words.insert(rng.randint(0, len(words)), "zzz")
        prompt = " ".join(words)
        if rng.random() < 0.3:
            # Too many unknown words leave nothing to answer.
            prompt = " ".join(word if rng.random() < 0.3 else "zzz" for word in words)
            prompt, answer = language.dialogue(rng, prompt)
    return prompt, answer


def main() -> None:
    """Parse the command line, build, and print what was recorded."""
    parser = argparse.ArgumentParser(description="Train the base policy of the demo world.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the folder to write (default: the shipped weights)")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps")
    arguments = parser.parse_args()
    print(json.dumps(build(arguments.out, arguments.steps), indent=2))


if __name__ == "__main__":
    main()
