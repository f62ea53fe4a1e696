"""Rollouts: a policy answers prompts, token by token, and then says how likely its own answers were.

Two similar steps must not be confused. `generate` decodes with a key-value cache and keeps tokens and how likely each
was when it was drawn: token by token (`decode`, which chats stream too), or on a GPU by graphs (`generate_static`).
`forward_responses` reads whole answers in one pass; the log-probabilities before and after an update both come from it,
so that their ratio is exactly 1 before the first step (in TRL's PPO, which took the former from the sampler, it is
not; on a GPU, where learning may pad what it reads, it is 1 up to rounding). Those of the sampler say how far the model
that decodes is from the model that is read.

Prompts are padded at the left and responses at the right: a response begins at the same column in every row. Positions
count real tokens. Left out: paged caches, speculative decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.dialogue import STOP_STRINGS, Dialogue, cut_at_stop
from training.models.decoding import Decoder
from training.models.encoding import encode_prompt
from training.models.language_model import Critic, LanguageModel, SeparateCritic
from training.models.static_decoder import LOOK_EVERY, can_decode_static, static_decoder
from training.models.token_statistics import token_statistics


class Sampling(NamedTuple):
    """How tokens are sampled: softmax(logits / temperature), restricted to the smallest set with probability
    `top_p`."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


class Rollout(NamedTuple):
    """Prompts and the responses to them.

    Attributes:
        prompts: token ids, [batch, prompt], padded at the left.
        prompt_mask: 1 on tokens, [batch, prompt].
        responses: token ids with the end token where one was drawn, [batch, response], padded at the right.
        mask: 1.0 on tokens of the response, [batch, response].
        ended: whether the response ended by itself (end token or stop string), [batch] of bool.
        logprobs: log-probability of each token under the distribution it was drawn from (temperature and top_p
            included), 0 on padding, [batch, response] in fp32; None where that is not known.
    """

    prompts: Tensor
    prompt_mask: Tensor
    responses: Tensor
    mask: Tensor
    ended: Tensor
    logprobs: Tensor | None = None


class Drawn(NamedTuple):
    """One token per row, [batch] of int64, and the log-probability that each was drawn with, [batch] in fp32."""

    tokens: Tensor
    logprobs: Tensor


class ForwardOutputs(NamedTuple):
    """The outputs of one forward pass over responses, each [batch, response] in fp32.

    `values` are of the state before each token; zeros without a value head.
    """

    logprobs: Tensor
    entropy: Tensor
    values: Tensor


def pad_prompts(language: LanguageModel, dialogues: Sequence[Dialogue], max_new_tokens: int) -> tuple[Tensor, Tensor]:
    """(ids, mask) of prompts, each [batch, prompt], padded at the left; too long ones lose their oldest tokens."""
    longest_prompt = max(1, language.longest - max_new_tokens)
    rows = [encode_prompt(language.tokenizer, dialogue)[-longest_prompt:] for dialogue in dialogues]
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), language.pad_id, dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return ids.to(language.device), mask.to(language.device)


class DecodedStep(NamedTuple):
    """One decoding step: the rows of the batch that have not ended, the token of each with its log-probability, and
    whether it was the last."""

    rows: Tensor
    tokens: Tensor
    logprobs: Tensor
    ended: Tensor


@torch.no_grad()
def decode(
    language: LanguageModel, prompts: Tensor, prompt_mask: Tensor, sampling: Sampling, generator: torch.Generator,
    decoder: Decoder | None = None,
) -> Iterator[DecodedStep]:
    """Sample responses token by token. Call it inside `language_model.merged` for a policy with an adapter.

    Rows that have ended are dropped once they are a quarter of the batch, so that one long answer does not cost all
    rows.

    Args:
        prompts, prompt_mask: as `pad_prompts` gives them, [batch, prompt].
        generator: all randomness comes from it; it lives on the CPU.
        decoder: what says the next token's logits; None: the model alone.
    """
    device = prompts.device
    ends = torch.tensor(language.end_ids, device=device)
    stop = _StopStrings(language.tokenizer, len(prompts), sampling.max_new_tokens, device)
    rows = torch.arange(len(prompts), device=device)  # the row of the batch that each line of the cache belongs to
    going = torch.ones_like(rows, dtype=torch.bool)  # by line of the cache
    capacity = prompts.shape[1] + sampling.max_new_tokens
    decoder = decoder or Decoder(language.model, capacity)
    attention, tokens = prompt_mask, prompts
    positions = (prompt_mask.cumsum(dim=1) - 1).clamp(min=0)
    for step in range(sampling.max_new_tokens):
        next_tokens, logprobs = draw(decoder.next_logits(tokens, attention, positions), sampling, generator)
        ended = torch.isin(next_tokens, ends) | stop.hit(rows, next_tokens, step)
        yield DecodedStep(rows[going], next_tokens[going], logprobs[going], ended[going])
        going = going & ~ended
        unfinished = int(going.sum())
        if unfinished == 0:
            return
        if unfinished <= 0.75 * len(rows) and decoder.can_drop_rows:
            keep = torch.nonzero(going).flatten()
            decoder.drop_rows(keep)
            rows, next_tokens, attention, positions, going = (
                rows[keep], next_tokens[keep], attention[keep], positions[keep], going[keep],
            )  # fmt: skip
        tokens, positions = next_tokens.unsqueeze(1), positions[:, -1:] + 1
        attention = torch.cat([attention, torch.ones_like(tokens)], dim=1)


def generate(
    language: LanguageModel, prompts: Tensor, prompt_mask: Tensor, sampling: Sampling, generator: torch.Generator,
    decoder: Decoder | None = None,
) -> Rollout:
    """Sample one whole response per row; arguments as for `decode`."""
    if decoder is None and prompts.is_cuda and can_decode_static(language.model):
        return generate_static(language, prompts, prompt_mask, sampling, generator)
    batch, device = len(prompts), prompts.device
    responses = torch.full((batch, sampling.max_new_tokens), language.pad_id, dtype=torch.int64, device=device)
    logprobs = torch.zeros(batch, sampling.max_new_tokens, device=device)
    lengths = torch.zeros(batch, dtype=torch.int64, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    for step, decoded in enumerate(decode(language, prompts, prompt_mask, sampling, generator, decoder)):
        responses[decoded.rows, step] = decoded.tokens
        logprobs[decoded.rows, step] = decoded.logprobs
        ended[decoded.rows] = decoded.ended
        lengths[decoded.rows] += 1
    longest = int(lengths.max())
    mask = (torch.arange(longest, device=device) < lengths.unsqueeze(1)).float()
    return Rollout(prompts, prompt_mask, responses[:, :longest].contiguous(), mask, ended,
                   logprobs[:, :longest].contiguous())


@torch.no_grad()
def generate_static(
    language: LanguageModel, prompts: Tensor, prompt_mask: Tensor, sampling: Sampling, generator: torch.Generator
) -> Rollout:
    """`generate` by `training.models.static_decoder`: on a GPU each step is the replay of a graph.

    The random numbers of all tokens are drawn at once. While every row is still running, the answers equal those of
    `decode` for the same seed; once `decode` drops a row its random numbers go to other rows, and only the distribution
    is the same.
    """
    batch, steps = len(prompts), sampling.max_new_tokens
    decoder = static_decoder(language.model, batch, prompts.shape[1] + steps,
                             lambda logits, uniform: token_at(logits, sampling, uniform), sampling)
    ends = _Ends(language, batch, steps)
    uniform = torch.rand(steps, batch, generator=generator) if sampling.temperature else torch.zeros(steps, batch)
    decoder.start(prompts, prompt_mask, uniform.to(prompts.device))
    for step in range(1, steps):
        if step % LOOK_EVERY == 0 and ends.all_ended(decoder.drawn(step).cpu()):
            break
        decoder.advance()
    else:
        ends.all_ended(decoder.drawn(steps).cpu())
    longest = int(ends.lengths.max())
    lengths, ended = ends.lengths.to(prompts.device), ends.ended.to(prompts.device)
    mask = (torch.arange(longest, device=prompts.device) < lengths.unsqueeze(1)).float()
    responses = decoder.drawn(longest).masked_fill(mask == 0, language.pad_id)
    logprobs = decoder.drawn_logprobs(longest).masked_fill(mask == 0, 0)
    return Rollout(prompts, prompt_mask, responses.contiguous(), mask, ended, logprobs.contiguous())


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Drawn:
    """One token per row of logits, [batch, vocabulary], sampled in fp32 with the CPU's generator.

    One random number per row, so that the same seed gives the same answers on every device, up to rounding. At
    temperature 0 it is the most likely token, and no number is drawn.
    """
    numbers = torch.rand(len(logits), 1, generator=generator) if sampling.temperature else torch.zeros(len(logits), 1)
    return token_at(logits, sampling, numbers.to(logits.device))


def token_at(logits: Tensor, sampling: Sampling, uniform: Tensor) -> Drawn:
    """The token at which a number in [0, 1), [batch, 1], falls in the cumulative probabilities."""
    if sampling.temperature == 0:
        return Drawn(logits.argmax(dim=-1), torch.zeros(len(logits), device=logits.device))
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True)
        probabilities = probabilities * (probabilities.cumsum(dim=-1) - probabilities < sampling.top_p)
    elif logits.is_cuda:
        tokens = token_in_blocks(probabilities, uniform)
        return Drawn(tokens, probabilities.gather(1, tokens.unsqueeze(1)).squeeze(1).log())
    cumulated = probabilities.cumsum(dim=-1)
    # Strictly below the total, which rounding may leave under 1, and after which there may be zeros.
    index = torch.searchsorted(cumulated, uniform * cumulated[:, -1:] * (1 - 1e-6), right=True)
    index = index.clamp(max=logits.shape[-1] - 1)
    drawn_probabilities = probabilities.gather(1, index)
    if sampling.top_p < 1:
        return Drawn(order.gather(1, index).squeeze(1), (drawn_probabilities / cumulated[:, -1:]).squeeze(1).log())
    return Drawn(index.squeeze(1), drawn_probabilities.squeeze(1).log())


def token_in_blocks(probabilities: Tensor, uniform: Tensor, block: int = 1024) -> Tensor:
    """`token_at` of probabilities, [batch, vocabulary], for a GPU, which cumulates few long rows slowly: first the
    block of tokens that the number falls into, then the token in it."""
    padded = torch.nn.functional.pad(probabilities, (0, -probabilities.shape[-1] % block))
    blocks = padded.view(len(padded), -1, block)
    sums = blocks.sum(dim=-1)
    ends = sums.cumsum(dim=-1)
    target = uniform * ends[:, -1:] * (1 - 1e-6)
    chosen = torch.searchsorted(ends, target, right=True).clamp(max=sums.shape[-1] - 1)
    inside = blocks.gather(1, chosen.unsqueeze(-1).expand(-1, 1, block)).squeeze(1).cumsum(dim=-1)
    # Strictly below the block's total: rounding may put the rest above it, and zeros may follow it.
    rest = torch.minimum(target - (ends - sums).gather(1, chosen), inside[:, -1:] * (1 - 1e-6))
    return (chosen * block + torch.searchsorted(inside, rest, right=True)).squeeze(1)


def texts(language: LanguageModel, rollout: Rollout) -> list[str]:
    """The responses as text, as shown and scored: without special tokens, cut at a stop string."""
    lengths = rollout.mask.sum(dim=1).long().tolist()
    rows = [row[:length] for row, length in zip(rollout.responses.tolist(), lengths, strict=True)]
    return [cut_at_stop(text) for text in language.tokenizer.batch_decode(rows, skip_special_tokens=True)]


def forward_responses(
    language: LanguageModel, rollout: Rollout, temperature: float = 1.0, value_head: Critic | None = None,
    is_padded: bool = True,
) -> ForwardOutputs:
    """One forward pass over whole responses; logits are computed for response tokens only.

    Gradients flow if they are enabled. Whether the adapter is on is the caller's choice (`language_model.reference`).

    Args:
        rollout: of which prompts, responses and masks are read.
        temperature: that of the sampling, so that the probabilities are those the tokens were drawn with.
        is_padded: False where no place is empty: attention then needs no mask.
    """
    length = rollout.responses.shape[1]
    # The last token is no input: nothing is predicted after it.
    tokens = torch.cat([rollout.prompts, rollout.responses[:, :-1]], dim=1)
    inputs = {"input_ids": tokens, "use_cache": False}
    if is_padded:
        attention = torch.cat([rollout.prompt_mask, rollout.mask[:, :-1].to(rollout.prompt_mask.dtype)], dim=1)
        inputs |= {"attention_mask": attention, "position_ids": (attention.cumsum(dim=1) - 1).clamp(min=0)}
    with _input_of_the_head(language) as hidden:
        logits = language.model(**inputs, logits_to_keep=length).logits
    logprobs, entropy = token_statistics(logits, rollout.responses, temperature)
    if isinstance(value_head, SeparateCritic):
        hidden = [value_head.hidden(**inputs)[:, -length:]]
    values = torch.zeros_like(entropy) if value_head is None else value_head(hidden[0])
    return ForwardOutputs(logprobs, entropy, values)


@contextmanager
def _input_of_the_head(language: LanguageModel) -> Iterator[list[Tensor]]:
    """Captures the input of the language head: the last hidden states of the positions with logits, [batch, kept,
    hidden]."""
    caught: list[Tensor] = []
    hook = language.model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        yield caught
    finally:
        hook.remove()


def select(rollout: Rollout, rows: Tensor) -> Rollout:
    """Some rows of a rollout, without the columns that are padding in all of them."""
    prompt_mask, mask = rollout.prompt_mask[rows], rollout.mask[rows]
    first = rollout.prompts.shape[1] - int(prompt_mask.sum(dim=1).max())
    length = max(1, int(mask.sum(dim=1).max()))
    return Rollout(
        rollout.prompts[rows, first:], prompt_mask[:, first:], rollout.responses[rows, :length], mask[:, :length],
        rollout.ended[rows], None if rollout.logprobs is None else rollout.logprobs[rows, :length],
    )  # fmt: skip


class _Ends:
    """Where the responses of a batch end, found on the host from tokens that a GPU has drawn.

    Attributes:
        lengths: tokens of each response with its end token, [rows]; all tokens seen so far where there is no end yet.
        ended: whether an end token or a stop string was found, [rows].
    """

    def __init__(self, language: LanguageModel, rows: int, steps: int) -> None:
        self._ends = torch.tensor(language.end_ids)
        self._stop = _StopStrings(language.tokenizer, rows, steps, torch.device("cpu"))
        self._rows = torch.arange(rows)
        self._seen = 0
        self.lengths = torch.zeros(rows, dtype=torch.int64)
        self.ended = torch.zeros(rows, dtype=torch.bool)

    def all_ended(self, drawn: Tensor) -> bool:
        """Look at the steps that are new in `drawn`, [rows, steps] on the CPU; whether all responses have ended."""
        for step in range(self._seen, drawn.shape[1]):
            going = self._rows[~self.ended]
            tokens = drawn[going, step]
            self.lengths[going] += 1
            self.ended[going] = torch.isin(tokens, self._ends) | self._stop.hit(going, tokens, step)
        self._seen = drawn.shape[1]
        return bool(self.ended.all())


@lru_cache(maxsize=4)
def _tokens_with_colons(tokenizer: Any) -> list[int]:
    """Of a large vocabulary they take a tenth of a second to find."""
    return [index for token, index in tokenizer.get_vocab().items() if ":" in token]


class _StopStrings:
    """Finds replies in which another turn begins.

    Every stop string ends in a colon, so text is decoded only after a token with a colon.
    """

    def __init__(self, tokenizer: Any, batch: int, longest: int, device: torch.device) -> None:
        self._tokenizer = tokenizer
        self._colons = torch.tensor(_tokens_with_colons(tokenizer), dtype=torch.int64, device=device)
        self._drawn = torch.zeros(batch, longest, dtype=torch.int64, device=device)

    def hit(self, rows: Tensor, next_tokens: Tensor, step: int) -> Tensor:
        """Whether each row's response, with the token now drawn, ends in a stop string: [rows] of bool."""
        self._drawn[rows, step] = next_tokens
        hits = torch.isin(next_tokens, self._colons)
        for line in torch.nonzero(hits).flatten().tolist():
            tail = self._drawn[rows[line], max(0, step - 15) : step + 1].tolist()
            hits[line] = self._tokenizer.decode(tail).endswith(STOP_STRINGS)
        return hits
