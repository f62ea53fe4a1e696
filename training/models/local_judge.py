"""A judge on this machine: a transformers model, asked in batches for the log-probabilities of A and B.

The common prefix of a batch's questions (the task, and with the paper's layout the principle) is computed once, and its
keys and values are shared. Left out: judges that think before their letter, more than one device.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from transformers import DynamicCache

from training.config import JudgeSettings
from training.errors import BadSettings
from training.judges.answers import LEAST_MASS, letter_of
from training.judges.judge import Answer, Listener, PairQuestion, PairRequest, Verdict, collect, verdict_of
from training.judges.prompt import question_of
from training.judges.rate_controller import RateController
from training.models import language_model
from training.models.decoding import attends_only, attention_window
from training.models.encoding import encode_prompt
from training.models.exactness import check_decoding
from training.models.language_model import LanguageModel

BATCH = 16  # pairs at a time


class LocalJudge:
    """A StreamingJudge that loads `settings.model` at its first question."""

    def __init__(self, settings: JudgeSettings) -> None:
        if settings.reasoning:
            raise BadSettings("A local judge does not think before its letter.", "Switch 'judge.reasoning' off.")
        self.settings = settings
        self._language: LanguageModel | None = None

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`. Raises ModelUnavailable, OutOfMemory as `language_model.load`."""
        device = language_model.pick_device("auto")
        if self._language is None:
            self._language = language_model.load(
                self.settings.model, device, "bf16" if device.type == "cuda" else "fp32")
            check_decoding(self._language, "judge.model")
        pace = RateController(self.settings)
        while part := list(islice(requests, BATCH)):
            listener.tick(pace)
            while pace.paused:
                await asyncio.sleep(0.25)
                listener.tick(pace)
            for request, verdict in zip(part, self._judge(self._language, part), strict=True):
                listener.judged(request, verdict)

    def _judge(self, language: LanguageModel, part: list[PairRequest]) -> list[Verdict]:
        texts = []
        for item in (request.item for request in part):
            texts.append(question_of(self.settings, item.prompt, item.a, item.b, item.statement))
            if self.settings.both_orders:
                texts.append(question_of(self.settings, item.prompt, item.b, item.a, item.statement))
        sequences = [question_ids(language, text) for text in texts]
        # A truncated question would be another question.
        short = [ids if len(ids) <= language.longest else ids[:1] for ids in sequences]
        logprobs = next_logprobs(language, short)
        letters = letter_ids(language)
        answers = []
        for row, ids, text in zip(logprobs, sequences, texts, strict=True):
            share = first_share(row, letters) if len(ids) <= language.longest else None
            reason = "" if share is not None else "unreadable: neither A nor B is likely"
            if len(ids) > language.longest:
                reason = f"rejected: the question has {len(ids)} tokens, and the judge {language.longest} positions"
            answers.append(Answer(share, reason, len(ids), 0, 1, len(text), language.name))
        if not self.settings.both_orders:
            return [verdict_of(answer) for answer in answers]
        return [verdict_of(shown, swapped) for shown, swapped in zip(answers[::2], answers[1::2], strict=True)]


def question_ids(language: LanguageModel, text: str) -> list[int]:
    """A question in the model's chat template; without a template, the question followed by "Answer:"."""
    tokenizer = language.tokenizer
    if tokenizer.chat_template:
        return encode_prompt(tokenizer, [{"role": "user", "content": text}])
    return list(tokenizer(f"{text}\nAnswer:")["input_ids"])


def letter_ids(language: LanguageModel) -> dict[str, list[int]]:
    """The tokens that are a spelling of each letter."""
    ids: dict[str, list[int]] = {"A": [], "B": []}
    for token, index in language.tokenizer.get_vocab().items():
        if letter := letter_of(token):
            ids[letter].append(index)
    return ids


def first_share(logprobs: torch.Tensor, letters: dict[str, list[int]]) -> float | None:
    """P(A) / (P(A) + P(B)) from log-probabilities [vocabulary]; None where neither letter is likely."""
    a, b = (math.fsum(logprobs[ids].exp().tolist()) for ids in (letters["A"], letters["B"]))
    return a / (a + b) if a + b >= LEAST_MASS else None


@torch.no_grad()
def next_logprobs(language: LanguageModel, sequences: Sequence[list[int]]) -> torch.Tensor:
    """Log-probabilities of the token after each sequence, [sequences, vocabulary]; their common prefix is computed
    once.

    No prefix is shared where that would not be exact: a model with other layers than attention has states that cannot
    be repeated for rows, and an attention window would count the padding after the prefix.
    """
    window = attention_window(language.model)
    is_hidden = window is not None and max(len(ids) for ids in sequences) > window
    if is_hidden or not attends_only(language.model):
        return _of_whole_sequences(language, sequences)
    shared = min(len(ids) for ids in sequences) - 1
    shared = next((at for at in range(shared) if len({ids[at] for ids in sequences}) > 1), shared)
    cache = DynamicCache()
    if shared:
        prefix = torch.tensor([sequences[0][:shared]], device=language.device)
        language.model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(sequences))
    longest = max(len(ids) for ids in sequences) - shared
    # Padded at the left, between the common prefix and the rest: every question ends in the last column.
    rest = torch.full((len(sequences), longest), language.pad_id)
    mask = torch.ones((len(sequences), shared + longest), dtype=torch.long)
    positions = torch.zeros_like(rest)
    for row, ids in enumerate(sequences):
        own = len(ids) - shared
        rest[row, longest - own:] = torch.tensor(ids[shared:])
        mask[row, shared: shared + longest - own] = 0
        positions[row, longest - own:] = torch.arange(shared, len(ids))
    device = language.device
    logits = language.model(input_ids=rest.to(device), attention_mask=mask.to(device), logits_to_keep=1,
                            position_ids=positions.to(device), past_key_values=cache, use_cache=True).logits[:, -1]
    return logits.float().log_softmax(-1).cpu()


def _of_whole_sequences(language: LanguageModel, sequences: Sequence[list[int]]) -> torch.Tensor:
    """`next_logprobs` in one padded pass without a cache."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.full((len(sequences), longest), language.pad_id)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(sequences):
        tokens[row, longest - len(ids):], mask[row, longest - len(ids):] = torch.tensor(ids), 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    device = language.device
    logits = language.model(input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False,
                            position_ids=positions.to(device), logits_to_keep=1).logits[:, -1]
    return logits.float().log_softmax(-1).cpu()
