"""Replies of many people at once: one base, and a batch that replies join and leave between two steps.

Prompts are read between the steps of those that run, a long one in chunks, short ones together, so that nobody waits
for long; then their rows stand beside the others and every step draws one token for each. Each row has its own policy
(`training.models.mixed_lora`), sampling and random numbers: what it says depends on no other row, up to rounding.

Where a family does not decode exactly in a padded batch, each row keeps a cache of its own and is stepped alone.
`put` and what `Reply` offers may be called from any thread, the rest by one thread. Left out: CUDA graphs, and prompts
that begin alike being read once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from training.dialogue import Dialogue
from training.errors import OutOfMemory, is_out_of_memory
from training.models.chat import ReplyText
from training.models.decoding import Decoder, attends_only
from training.models.encoding import encode_prompt
from training.models.exactness import TOLERANCE, measure
from training.models.language_model import LanguageModel, translate_oom
from training.models.mixed_lora import MixedLora, Policy, can_mix
from training.models.rollouts import Sampling, token_at
from training.models.shared_cache import SharedCache

CHUNK_OPERATIONS = {"cpu": 16e9, "mps": 2e11, "cuda": 4e12}
"""Of the pass that reads prompts between two steps, by device: a fifth of a second."""

LEAST_CHUNK, MOST_CHUNK = 32, 2048


class Reply:
    """One reply in a batch: what it is drawn with, and the text that has come.

    Attributes:
        tokens: how many were drawn.
        ended: nothing more will come; what was not taken yet still can be.
    """

    def __init__(self, prompt: list[int], policy: Policy, sampling: Sampling, seed: int | None, text: ReplyText,
                 tell: Callable[[], None]) -> None:  # fmt: skip
        self.policy, self.sampling = policy, sampling
        self.tokens, self.ended = 0, False
        self.prompt = prompt
        self.last = 0  # the token that the next step reads
        self.is_stopped = False
        self.cache: Any = None  # of its own, where rows share none
        self._generator = torch.Generator()
        _ = self._generator.seed() if seed is None else self._generator.manual_seed(seed)
        self._text, self._tell = text, tell
        self._pieces: deque[str] = deque()
        self._error: Exception | None = None

    def take(self) -> str:
        """The text that has come since the last call.

        Raises:
            TrainingError: the reply has failed; so may any other error that the model raised.
        """
        if self._error is not None:
            raise self._error
        return "".join(self._pieces.popleft() for _ in range(len(self._pieces)))

    def stop(self) -> None:
        """Nobody listens any more: the row leaves before the next step."""
        self.is_stopped = True

    def uniform(self) -> Tensor:
        """The random number of the next token, [1, 1]."""
        return torch.rand(1, 1, generator=self._generator, dtype=torch.float32)

    def hear(self, token: int, is_end: bool) -> None:
        """A token was drawn."""
        self.tokens += 1
        self.last = token
        piece = self._text.add(token)
        over = is_end or self._text.over or self.tokens >= self.sampling.max_new_tokens
        if over and not self._text.over:
            piece += self._text.rest()
        if piece:
            self._pieces.append(piece)
        self.ended = over
        if over or self.tokens == 1:
            self._tell()

    def fail(self, error: Exception) -> None:
        self._error, self.ended, self.cache = error, True, None
        self._tell()


class ChatBatch:
    """All replies that are drawn from one base.

    Args:
        language: the base, in evaluation mode, without adapters.
    """

    def __init__(self, language: LanguageModel) -> None:
        self._lora = MixedLora(language)
        self._shares = shares_a_batch(language)
        self._arriving: deque[Reply] = deque()
        self._reading: list[Reply] = []  # whose prompts are being read, into `_prompts`
        self._prompts: Any = None
        self._chunk = _chunk(language)
        self._running: list[Reply] = []
        self._cache = SharedCache()

    @property
    def longest(self) -> int:
        """Positions the model has, for a dialogue and its reply together."""
        return self._lora.language.longest

    @property
    def is_idle(self) -> bool:
        return not self._arriving and not self._reading and not self._running

    def count_tokens(self, text: Dialogue | str) -> int:
        """Tokens that a dialogue takes before the reply begins, or those of a reply."""
        tokenizer = self._lora.language.tokenizer
        if isinstance(text, str):
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return len(encode_prompt(tokenizer, text))

    def put(self, dialogue: Dialogue, policy: Policy, sampling: Sampling, seed: int | None = None,
            tell: Callable[[], None] = lambda: None) -> Reply:  # fmt: skip
        """A reply that will be drawn. A prompt that is too long loses its oldest tokens.

        Args:
            policy: the folder of its adapter, or a soup of several, loaded when its prompt is read; None for the base.
            tell: called, in the thread that decodes, at the first token and when the reply has ended.

        Raises:
            BadData: the chat template refuses the dialogue.
        """
        language = self._lora.language
        prompt = encode_prompt(language.tokenizer, dialogue)[-max(1, language.longest - sampling.max_new_tokens):]
        reply = Reply(prompt, policy, sampling, seed, ReplyText(language.tokenizer), tell)
        self._arriving.append(reply)
        return reply

    @torch.no_grad()
    def advance(self) -> None:
        """Read some of the prompt that came first, then draw a token for every row that runs."""
        for reply in [reply for reply in self._running if reply.is_stopped]:
            self._remove(reply)
        if self._reading and all(reply.is_stopped for reply in self._reading):
            self._reading, self._prompts = [], None
        if replies := self._choose_next():
            self._read_prompts(replies)
        if self._running:
            self._step()

    def fail(self, error: Exception) -> None:
        """End every reply with an error: the batch cannot go on. It takes new ones."""
        for reply in [*self._running, *self._reading, *self._arriving]:
            reply.fail(error)
        self._running, self._reading, self._prompts, self._cache = [], [], None, SharedCache()
        self._arriving.clear()

    def _read_prompts(self, replies: list[Reply]) -> None:
        """Read a chunk of the prompts; after their last one the replies get their first token and a row."""
        try:
            with translate_oom():
                logits = self._read_together(replies) if self._shares else self._read_alone(replies[0])
        except Exception as error:
            self._reading, self._prompts = [], None
            for reply in replies:  # it is the error of one of them, and the others go on
                if len(replies) == 1:
                    reply.fail(error)
                else:
                    self._read_prompts([reply])
            return
        if logits is not None:
            prompts, self._reading, self._prompts = self._prompts, [], None
            self._draw(replies, logits)
            for row, reply in enumerate(replies):
                if not reply.ended:
                    self._join(reply, prompts, row, len(replies) - row - 1)

    def _choose_next(self) -> list[Reply]:
        """The replies whose prompts are read next: one with a long prompt, or those that fit one chunk together.

        At most one adapter is loaded on the way: those who run wait for no more.
        """
        if not self._reading:
            width = 0
            while self._arriving:
                reply = self._arriving[0]
                width = max(width, len(reply.prompt))
                fits = self._shares and width * (len(self._reading) + 1) <= self._chunk
                if self._reading and not (fits and reply.policy in self._lora):
                    break
                self._arriving.popleft()
                if not reply.is_stopped and self._load_adapter(reply):
                    self._reading.append(reply)
        return list(self._reading)

    def _load_adapter(self, reply: Reply) -> bool:
        """Whether the reply's policy is there; it has failed if not."""
        try:
            with translate_oom():
                if reply.policy is not None:
                    self._lora.load(reply.policy, [other.policy for other in (*self._running, *self._reading)])
        except Exception as error:
            reply.fail(error)
        return not reply.ended

    def _read_together(self, replies: list[Reply]) -> Tensor | None:
        """Logits [replies, vocabulary] after the prompts; None while there is more to read of one that is alone."""
        if self._prompts is None:
            self._prompts = Cache(layer_class_to_replicate=DynamicLayer)
        device = self._lora.language.device
        start, width = self._prompts.get_seq_length(), max(len(reply.prompt) for reply in replies)
        tokens = torch.tensor([[self._lora.language.pad_id] * (width - len(reply.prompt)) + reply.prompt
                               for reply in replies])
        mask = torch.arange(width) >= torch.tensor([[width - len(reply.prompt)] for reply in replies])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        end = min(width, start + self._chunk) if self._running or self._arriving else width
        self._lora.gather(reply.policy for reply in (*self._running, *replies))
        self._lora.use([reply.policy for reply in replies])
        logits = self._logits_of(tokens[:, start:end].to(device), mask[:, :end].long().to(device),
                                 positions[:, start:end].to(device), self._prompts)
        return logits if end == width else None

    def _read_alone(self, reply: Reply) -> Tensor:
        """Logits after what a reply that shares no cache has not read yet: its prompt, or its last token."""
        device, read = self._lora.language.device, len(reply.prompt) + reply.tokens - 1
        if reply.cache is None:
            reply.cache = Decoder(self._lora.language.model, len(reply.prompt) + reply.sampling.max_new_tokens)
            tokens, read = torch.tensor([reply.prompt], device=device), 0
        else:
            tokens = torch.tensor([[reply.last]], device=device)
        end = read + tokens.shape[1]
        self._lora.gather([reply.policy])
        self._lora.use([reply.policy])
        logits: Tensor = reply.cache.next_logits(tokens, torch.ones(1, end, dtype=torch.int64, device=device),
                                                 torch.arange(read, end, device=device)[None])
        return logits

    def _join(self, reply: Reply, prompts: Cache, row: int, followers: int) -> None:
        """A row for a reply among those that run; `followers` more of the same prompts come after it."""
        try:
            with translate_oom():
                if self._shares:
                    remaining = reply.sampling.max_new_tokens - reply.tokens
                    self._cache.join(prompts, row, len(reply.prompt), remaining, followers)
            self._running.append(reply)
        except Exception as error:  # no memory for this one
            reply.fail(error)

    def _step(self) -> None:
        """One token for every row. Where memory runs out, the row that joined last is given up for the others."""
        if self._shares:
            try:
                with translate_oom():
                    self._step_together()
            except OutOfMemory as error:
                self._running[-1].fail(error)
        else:
            for reply in self._running:
                self._step_alone(reply)
        for reply in [reply for reply in self._running if reply.ended]:
            self._remove(reply)

    def _step_alone(self, reply: Reply) -> None:
        try:
            with translate_oom():
                self._draw([reply], self._read_alone(reply))
        except Exception as error:  # it is this reply's
            reply.fail(error)

    def _step_together(self) -> None:
        device, rows = self._lora.language.device, self._running
        self._lora.gather(reply.policy for reply in (*rows, *self._reading))
        self._lora.use([reply.policy for reply in rows])
        tokens = torch.tensor([[reply.last] for reply in rows], device=device)
        positions = torch.tensor([[length] for length in self._cache.lengths], device=device)
        logits = self._logits_of(tokens, self._cache.attention().to(device), positions, self._cache.cache)
        self._cache.advance()
        self._draw(rows, logits)

    def _logits_of(self, tokens: Tensor, attention: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Logits [rows, vocabulary] after the last token of each row."""
        output = self._lora.language.model(input_ids=tokens, attention_mask=attention, position_ids=positions,
                                           past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _draw(self, replies: list[Reply], logits: Tensor) -> None:
        """Every reply hears its next token; those with the same sampling are drawn in one pass over their logits."""
        groups: dict[tuple[float, float], list[int]] = {}
        for row, reply in enumerate(replies):
            groups.setdefault((reply.sampling.temperature, reply.sampling.top_p), []).append(row)
        ends = self._lora.language.end_ids
        for rows in groups.values():
            sampling = replies[rows[0]].sampling
            drawn = sampling.temperature != 0
            uniform = torch.cat([replies[row].uniform() for row in rows]) if drawn else torch.zeros(len(rows), 1)
            own = logits if len(rows) == len(replies) else logits[rows]
            tokens = token_at(own, sampling, uniform.to(logits.device)).tokens.tolist()
            for row, token in zip(rows, tokens, strict=True):
                replies[row].hear(token, token in ends)

    def _remove(self, reply: Reply) -> None:
        place = self._running.index(reply)
        if self._shares:
            self._cache.leave(place)
        self._running[place] = self._running[-1]
        self._running.pop()


def _chunk(language: LanguageModel) -> int:
    """Tokens of prompts that are read between two steps."""
    parameters = sum(parameter.numel() for parameter in language.model.parameters())
    return int(min(MOST_CHUNK, max(LEAST_CHUNK, CHUNK_OPERATIONS[language.device.type] / (2 * parameters))))


def shares_a_batch(language: LanguageModel) -> bool:
    """Whether rows may be decoded together: the family attends only, and is measured to be exact when it is padded."""
    shared_layers = getattr(language.model.config.get_text_config(decoder=True), "num_kv_shared_layers", 0)
    if not attends_only(language.model) or not can_mix(language.model) or shared_layers:
        return False
    try:
        largest = max(measure(language))
    except Exception as error:  # a family may fail in any way; alone it may still work
        if is_out_of_memory(error):
            raise
        return False
    return largest <= TOLERANCE.get(language.model.dtype, TOLERANCE[torch.bfloat16])
