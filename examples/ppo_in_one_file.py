"""MORLAIF's algorithm in one file, with nothing around it: preference models, a scalarization, PPO.

    python -m examples.ppo_in_one_file [--phases 20] [--seed 0] [--worst-case]

A small language model answers questions about some islands, often rudely and at length. Two preference models learn
from labelled pairs which answer is less toxic and which is more concise; PPO moves the model towards what they reward.
Under a minute on one CPU core. From the project come only the model's weights and tokenizer, prompts, and a judge.

The papers, by the names used below:
    MORLAIF  Williams, Multi-objective RL from AI Feedback, arXiv 2406.07295: one preference model per principle
    PPO      Schulman et al., Proximal Policy Optimization, arXiv 1707.06347: the clipped loss
    GAE      Schulman et al., Generalized Advantage Estimation, arXiv 1506.02438
    RLHF     Ziegler et al., arXiv 1909.08593, Ouyang et al. (InstructGPT), arXiv 2203.02155: the KL penalty per token

What the engine in `training/` adds: LoRA, GPUs, checkpoints, an adaptive KL coefficient, more scalarizations.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, logging

from training.demo_world import WEIGHTS, language, rules

PRINCIPLES = ("toxicity", "conciseness")  # a higher score is the virtue: less toxic, more concise
WEIGHTS_OF_PRINCIPLES = torch.tensor([0.5, 0.5])
MAX_NEW_TOKENS = 24
QUESTIONS = 400  # also the number of labelled pairs: the preference models learn from one pair per question
BATCH = 64  # answers per phase
EPOCHS = 4  # passes over the answers of a phase, one optimizer step each
KL_COEFFICIENT = 0.1
GAMMA, LAMBDA = 1.0, 0.95
CLIP = 0.2
VALUE_COEFFICIENT = 0.1


class Answers(NamedTuple):
    """Sampled answers: prompts padded at the left, then responses padded at the right."""

    tokens: Tensor  # [batch, prompt + response]
    attention: Tensor  # 1 on tokens, 0 on padding, [batch, prompt + response]
    mask: Tensor  # 1.0 on the response's tokens, its end token included, [batch, response]
    texts: list[str]


class History(NamedTuple):
    """What each phase measured before its update, means over its answers."""

    reward: list[float]
    kl: list[float]
    principles: list[dict[str, float]]  # the standardised scores
    judge: list[float]  # what the judge itself says, from 0 to 1: the policy never sees it


@torch.no_grad()
def sample(policy: nn.Module, tokenizer: Any, questions: list[str]) -> Answers:
    """One answer per question, drawn token by token from softmax(logits), that is at temperature 1.

    Prompts are padded at the left, so that every row's next token stands in the same column. After the first pass only
    the newest token is read; the keys and values of all tokens before it are in the cache.
    """
    encoded = tokenizer([f"\n\nHuman: {question}\n\nAssistant:" for question in questions],
                        padding=True, padding_side="left", return_tensors="pt")
    tokens, attention = encoded["input_ids"], encoded["attention_mask"]
    prompt_length = tokens.shape[1]
    running = torch.ones(len(questions), 1, dtype=torch.bool)
    unread, cache = tokens, None
    for _ in range(MAX_NEW_TOKENS):
        output = policy(input_ids=unread, attention_mask=attention, past_key_values=cache, use_cache=True,
                        position_ids=positions(attention)[:, -unread.shape[1]:], logits_to_keep=1)
        cache = output.past_key_values
        next_token = torch.multinomial(torch.softmax(output.logits[:, -1], dim=-1), num_samples=1)
        unread = next_token.where(running, tokenizer.pad_token_id)  # an answer that has ended gets padding
        tokens = torch.cat([tokens, unread], dim=1)
        attention = torch.cat([attention, running.long()], dim=1)
        running = running & (unread != tokenizer.eos_token_id)
        if not running.any():
            break
    texts = tokenizer.batch_decode(tokens[:, prompt_length:], skip_special_tokens=True)
    return Answers(tokens, attention, attention[:, prompt_length:].float(), texts)


def positions(attention: Tensor) -> Tensor:
    """The position of each token, padding not counted. [batch, tokens] -> [batch, tokens]."""
    return (attention.cumsum(dim=1) - 1).clamp(min=0)


def train_preference_model(principle: str, questions: list[str], first: Answers, second: Answers) -> nn.Module:
    """A copy of the language model with a head of one number, trained on which of two answers is better.

    Bradley-Terry with soft labels: P(first better) = sigmoid(d), d = score(first) - score(second), and
    loss = -p log sigmoid(d) - (1 - p) log sigmoid(-d), where p is the judge's probability.
    """
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(WEIGHTS, num_labels=1)
    labels = torch.tensor([rules.preference(principle, question, a, b)
                           for question, a, b in zip(questions, first.texts, second.texts, strict=True)])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for _ in range(2):
        for rows in torch.randperm(len(questions)).split(32):
            difference = score(model, first, rows) - score(model, second, rows)
            p = labels[rows]
            loss = -(p * logsigmoid(difference) + (1 - p) * logsigmoid(-difference)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def score(model: nn.Module, answers: Answers, rows: Tensor | slice = slice(None)) -> Tensor:
    """What a preference model says of each answer, read at its last token. -> [batch]."""
    tokens, attention = answers.tokens[rows], answers.attention[rows]
    scores: Tensor = model(input_ids=tokens, attention_mask=attention, position_ids=positions(attention)).logits
    return scores.squeeze(1)


def scalarize(scores: Tensor, worst_case: bool) -> Tensor:
    """One reward per answer from its standardised scores z (MORLAIF, section 3). [batch, principle] -> [batch].

    linear: sum_i w_i z_i.  worst_case: min_i z_i.
    """
    return scores.amin(dim=1) if worst_case else scores @ WEIGHTS_OF_PRINCIPLES


def logprobs_and_values(policy: nn.Module, value_head: nn.Linear, answers: Answers) -> tuple[Tensor, Tensor]:
    """log pi(token) of the response's tokens, and V of the state before each; both [batch, response], 0 on padding.

    The logits at position t predict token t + 1, so those of the response begin at the last token of the prompt.
    """
    output = policy(input_ids=answers.tokens, attention_mask=answers.attention,
                    position_ids=positions(answers.attention), output_hidden_states=True, use_cache=False)
    length = answers.mask.shape[1]
    before = slice(-length - 1, -1)
    logprobs = torch.log_softmax(output.logits[:, before], dim=-1)
    logprobs = logprobs.gather(-1, answers.tokens[:, -length:].unsqueeze(-1)).squeeze(-1)
    values = value_head(output.hidden_states[-1][:, before]).squeeze(-1)
    return logprobs * answers.mask, values * answers.mask


def token_rewards(reward: Tensor, log_ratio: Tensor, mask: Tensor) -> Tensor:
    """r_t = -beta (log pi_t - log ref_t), and the answer's reward on its last token (RLHF). -> [batch, response]."""
    rewards = -KL_COEFFICIENT * log_ratio
    last = mask.sum(dim=1).long() - 1
    rewards[torch.arange(len(reward)), last] += reward
    return rewards


def advantages_and_returns(rewards: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """GAE, equation 16, backwards over the response; all [batch, response].

    delta_t = r_t + gamma V_{t+1} - V_t;  A_t = delta_t + gamma lambda A_{t+1};  return_t = A_t + V_t.
    After the last token V and A are 0, which is what `values` and `rewards` hold on the padding.
    """
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + GAMMA * next_value - values[:, t]
        advantages[:, t] = next_advantage = (delta + GAMMA * LAMBDA * next_advantage) * mask[:, t]
        next_value = values[:, t]
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shifted and scaled to mean 0 and variance 1 over the response's tokens: the usual aid to PPO's step size."""
    mean = (values * mask).sum() / mask.sum()
    variance = ((values - mean).square() * mask).sum() / mask.sum()
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def ppo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """PPO, equation 7, to be minimised: -min(ratio A, clip(ratio, 1 - eps, 1 + eps) A), mean over tokens."""
    ratio = torch.exp(logprobs - old_logprobs)
    objective = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)
    return -(objective * mask).sum() / mask.sum()


def main(phases: int = 20, seed: int = 0, worst_case: bool = False, learning_rate: float = 3e-4) -> History:
    """Train the preference models, then the policy; print one line per phase."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    policy = AutoModelForCausalLM.from_pretrained(WEIGHTS)
    reference = copy.deepcopy(policy)  # the policy before any training; it stays as it is
    value_head = nn.Linear(policy.get_input_embeddings().embedding_dim, 1)
    parameters = [*policy.parameters(), *value_head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)

    # The policy answers every question twice; the judge labels the pairs, and the preference models learn the labels.
    questions = language.prompts(QUESTIONS, seed, "train")
    first, second = sample(policy, tokenizer, questions), sample(policy, tokenizer, questions)
    models = [train_preference_model(principle, questions, first, second) for principle in PRINCIPLES]

    # The scores of two models share no scale. z = (score - mean) / deviation, both over the reference's answers.
    with torch.no_grad():
        raw = torch.stack([score(model, first) for model in models], dim=1)
    mean, deviation = raw.mean(dim=0), raw.std(dim=0)

    history = History([], [], [], [])
    for phase in range(phases):
        asked = [questions[i] for i in torch.randperm(QUESTIONS)[:BATCH].tolist()]
        answers = sample(policy, tokenizer, asked)
        with torch.no_grad():
            z = (torch.stack([score(model, answers) for model in models], dim=1) - mean) / deviation
            reward = scalarize(z, worst_case)
            old_logprobs, old_values = logprobs_and_values(policy, value_head, answers)
            log_ratio = old_logprobs - logprobs_and_values(reference, value_head, answers)[0]
            rewards = token_rewards(reward, log_ratio, answers.mask)
            advantages, returns = advantages_and_returns(rewards, old_values, answers.mask)
            advantages = whiten(advantages, answers.mask)

        # Several steps on the same answers; the clip keeps the policy near the one that gave them.
        for _ in range(EPOCHS):
            logprobs, values = logprobs_and_values(policy, value_head, answers)
            value_loss = 0.5 * ((values - returns).square() * answers.mask).sum() / answers.mask.sum()
            loss = ppo_loss(logprobs, old_logprobs, advantages, answers.mask) + VALUE_COEFFICIENT * value_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        # KL(policy || reference) of an answer is estimated by the sum of its tokens' log ratios.
        judged = [rules.score(name, *pair) for name in PRINCIPLES for pair in zip(asked, answers.texts, strict=True)]
        history.reward.append(float(reward.mean()))
        history.kl.append(float(log_ratio.sum(dim=1).mean()))
        history.principles.append(dict(zip(PRINCIPLES, z.mean(dim=0).tolist(), strict=True)))
        history.judge.append(sum(judged) / len(judged))
        scores = "  ".join(f"{name} {value:+.2f}" for name, value in history.principles[-1].items())
        print(f"phase {phase + 1}  reward {history.reward[-1]:+.2f}  kl {history.kl[-1]:.2f}  {scores}"
              f"  judge {history.judge[-1]:.2f}", flush=True)
    print(f"reward: {history.reward[0]:.2f} -> {history.reward[-1]:.2f} kl: {history.kl[-1]:.1f}")
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="MORLAIF in one file.")
    parser.add_argument("--phases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worst-case", action="store_true", help="reward the worst principle, not the weighted sum")
    options = parser.parse_args()
    logging.set_verbosity_error()  # nothing about heads that are new on purpose
    logging.disable_progress_bar()
    main(options.phases, options.seed, options.worst_case)
