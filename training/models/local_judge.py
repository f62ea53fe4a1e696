"""A judge on this machine: a transformers model, asked in batches for the log-probabilities of A and B.

Requests about one pair that follow one another are read together, as a tree (`question_tree`): with the principle last
in the question, all principles in both orders cost little more than one. A model with which that is not exact, and a
question longer than its attention window, is asked row by row. The answer is begun for the judge (`ANSWER`), so that
its next token is the letter. While the model reads, a thread turns the next questions into tokens, two dozen long texts
a pair. Left out: judges that think before their letter, more than one device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, islice
from typing import TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from training.config import JudgeSettings
from training.errors import BadSettings, StopRequested
from training.judges.answers import LEAST_MASS, letter_of
from training.judges.judge import Answer, Listener, PairQuestion, PairRequest, Verdict, collect, verdict_of
from training.judges.prompt import question_of
from training.judges.rate_controller import RateController
from training.models import language_model
from training.models.decoding import attends_only
from training.models.encoding import known_ids, rendered
from training.models.exactness import check_decoding
from training.models.language_model import LanguageModel
from training.models.question_tree import Questions, fits_window, passes, read_trees, reads_trees

BATCH = 16  # pairs at a time, each with as many principles as are asked about it
ROWS = 32  # questions in a pass, where they are asked row by row

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")

ANSWER = "Answer: Option"
"""How the judge's answer begins. A small model begins with other words: SmolLM2-135M-Instruct gave A and B 0.06 of its
probability without a beginning, 0.70 after "Answer:", 0.96 after this one."""


class LocalJudge:
    """A StreamingJudge that loads `settings.model` at its first question."""

    def __init__(self, settings: JudgeSettings) -> None:
        if settings.reasoning:
            raise BadSettings("A local judge does not think before its letter.", "Switch 'judge.reasoning' off.")
        self.settings = settings
        self._asked: _AskedModel | None = None

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`. Raises ModelUnavailable, OutOfMemory as `language_model.load`."""
        if self._asked is None:
            device = language_model.pick_device("auto")
            language = language_model.load(
                self.settings.model, device, "bf16" if device.type == "cuda" else "fp32")
            check_decoding(language, "judge.model")
            self._asked = _AskedModel(language)
        pace = RateController(self.settings)
        by_pair = (list(group) for _, group in groupby(requests, lambda request: request.item[:3]))
        for pairs, questions in prepared_ahead(by_pair, partial(self._questions, self._asked.language), BATCH):
            for part in passes([ids for _, ids in questions], self._asked.language.device):
                await _wait_while_paused(listener, pace)
                judged: list[tuple[PairRequest, Verdict]] = []
                shares = self._asked.shares([questions[number][1] for number in part])
                for number, shares_of_pair in zip(part, shares, strict=True):
                    texts, sequences = questions[number]
                    verdicts = self._verdicts(self._asked.language, texts, sequences, shares_of_pair)
                    judged += zip(pairs[number], verdicts, strict=True)
                _report(listener, judged)

    def _questions(self, language: LanguageModel, group: Sequence[PairRequest]) -> tuple[list[str], list[list[int]]]:
        """The questions about one pair, and their token ids: of each principle in turn, in one order or both."""
        texts = []
        for item in (request.item for request in group):
            texts.append(question_of(self.settings, item.prompt, item.a, item.b, item.statement))
            if self.settings.both_orders:
                texts.append(question_of(self.settings, item.prompt, item.b, item.a, item.statement))
        return texts, question_ids(language, texts)

    def _verdicts(self, language: LanguageModel, texts: Sequence[str], sequences: Questions,
                  shares: Sequence[float | None]) -> list[Verdict]:
        answers = []
        for text, ids, share in zip(texts, sequences, shares, strict=True):
            reason = "" if share is not None else "unreadable: neither A nor B is likely"
            if len(ids) > language.longest:  # cut short it would be another question
                share = None
                reason = f"rejected: the question has {len(ids)} tokens, and the judge {language.longest} positions"
            answers.append(Answer(share, reason, len(ids), 0, 1, len(text), language.name))
        if not self.settings.both_orders:
            return [verdict_of(answer) for answer in answers]
        return [verdict_of(shown, swapped) for shown, swapped in zip(answers[::2], answers[1::2], strict=True)]


def prepared_ahead(items: Iterator[Item], prepare: Callable[[Item], Prepared],
                   size: int) -> Iterator[tuple[list[Item], list[Prepared]]]:
    """Items in batches with what `prepare` makes of each; the next batch is prepared in a thread meanwhile.

    Raises what `prepare` raises, when the batch's turn comes.
    """
    with ThreadPoolExecutor(1) as thread:  # one: a tokenizer is not made for several

        def begin() -> tuple[list[Item], Iterator[Prepared]]:
            batch = list(islice(items, size))
            return batch, thread.map(prepare, batch)

        batch, results = begin()
        while batch:
            prepared = list(results)
            following = begin()
            yield batch, prepared
            batch, results = following


def _report(listener: Listener, judged: Sequence[tuple[PairRequest, Verdict]]) -> None:
    """Tell the listener of all verdicts of a pass; where it asks for a stop, it is raised after the last."""
    stop: StopRequested | None = None
    for request, verdict in judged:
        try:
            listener.judged(request, verdict)
        except StopRequested as requested:
            stop = requested
    if stop is not None:
        raise stop


async def _wait_while_paused(listener: Listener, pace: RateController) -> None:
    listener.tick(pace)
    while pace.paused:
        await asyncio.sleep(0.25)
        listener.tick(pace)


class _AskedModel:
    """The model, with what is found out about it once."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language
        self._letters = [torch.tensor(ids, dtype=torch.long, device=language.device)
                         for ids in letter_ids(language).values()]
        self._reads_trees = reads_trees(language)

    def shares(self, groups: Sequence[Questions]) -> list[list[float | None]]:
        """P(A) / (P(A) + P(B)) after each question of each group, None where neither letter is likely; of a question
        that is longer than the model it says nothing."""
        cut_groups = [[ids if len(ids) <= self.language.longest else ids[:1] for ids in group] for group in groups]
        as_trees = [self._reads_trees and fits_window(self.language, group) for group in cut_groups]
        masses = torch.empty((sum(map(len, cut_groups)), 2))
        owners = [number for number, group in enumerate(cut_groups) for _ in group]
        for is_tree in (True, False):
            chosen = [group for group, tree in zip(cut_groups, as_trees, strict=True) if tree == is_tree]
            if chosen:
                rows = [row for row, owner in enumerate(owners) if as_trees[owner] == is_tree]
                masses[rows] = self._letter_masses(chosen, is_tree)
        read = iter(masses.tolist())
        return [[share_of(*next(read)) for _ in group] for group in groups]

    def _letter_masses(self, groups: Sequence[Questions], as_trees: bool) -> Tensor:
        """The probabilities of A and of B, [questions, 2]: all that leaves the device."""
        if as_trees:
            logits, places = read_trees(self.language, groups)
            return letter_masses(logits, self._letters)[places[:, 0], places[:, 1]].cpu()
        sequences = [ids for group in groups for ids in group]
        return torch.cat([letter_masses(next_logits(self.language, sequences[start: start + ROWS]), self._letters)
                          for start in range(0, len(sequences), ROWS)]).cpu()


def question_ids(language: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Questions about one pair in the model's chat template, each followed by the beginning of its answer; without a
    template, by that on a line of its own.

    The template is asked once: what it puts around the first question it puts around the others, whose words of other
    people are the same.
    """
    tokenizer = language.tokenizer
    if not tokenizer.chat_template:
        return [list(ids) for ids in tokenizer([f"{text}\n{ANSWER}" for text in texts])["input_ids"]]
    first = rendered(tokenizer, [{"role": "user", "content": texts[0]}]).text
    before, verbatim, after = first.partition(texts[0])
    rendered_texts = [f"{before}{text}{after}" for text in texts] if verbatim else [
        rendered(tokenizer, [{"role": "user", "content": text}]).text for text in texts]
    begun = tokenizer([_answering(text) for text in rendered_texts], add_special_tokens=False)["input_ids"]
    return [known_ids(tokenizer, ids) for ids in begun]


def _answering(prompt: str) -> str:
    """A prompt with the beginning of the answer; thinking that the template has begun is ended first."""
    thinks = prompt.rstrip().endswith("<think>")
    return f"{prompt.rstrip()}\n\n</think>\n\n{ANSWER}" if thinks else prompt + ANSWER


def letter_ids(language: LanguageModel) -> dict[str, list[int]]:
    """The tokens that are a spelling of each letter, among those that the model has a row for."""
    rows = int(language.model.get_input_embeddings().weight.shape[0])
    ids: dict[str, list[int]] = {"A": [], "B": []}
    for token, index in language.tokenizer.get_vocab().items():
        if index < rows and (letter := letter_of(token)):
            ids[letter].append(index)
    return ids


def share_of(a: float, b: float) -> float | None:
    """P(A) / (P(A) + P(B)); None where neither letter is likely."""
    return a / (a + b) if a + b >= LEAST_MASS else None


def letter_masses(logits: Tensor, letters: Sequence[Tensor]) -> Tensor:
    """The probability of each set of tokens, [..., sets], from logits [..., vocabulary]."""
    total = logits.float().logsumexp(-1)
    return torch.stack([(logits[..., ids].float().logsumexp(-1) - total).exp() for ids in letters], dim=-1)


@torch.no_grad()
def next_logits(language: LanguageModel, sequences: Questions) -> Tensor:
    """Logits of the token after each sequence, [sequences, vocabulary]; their common prefix is computed once.

    No prefix is shared where that would not be exact: a model with other layers than attention has states that cannot
    be repeated for rows, and an attention window would count the padding after the prefix.
    """
    if not (attends_only(language.model) and fits_window(language, sequences)):
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
    return logits


def _of_whole_sequences(language: LanguageModel, sequences: Questions) -> Tensor:
    """`next_logits` in one padded pass without a cache."""
    longest = max(len(ids) for ids in sequences)
    tokens = torch.full((len(sequences), longest), language.pad_id)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(sequences):
        tokens[row, longest - len(ids):], mask[row, longest - len(ids):] = torch.tensor(ids), 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    device = language.device
    logits = language.model(input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False,
                            position_ids=positions.to(device), logits_to_keep=1).logits[:, -1]
    return logits
