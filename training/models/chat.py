"""Chat with a policy: one dialogue in, its reply out, streamed piece by piece.

One base model is loaded for all the policies trained from it; each policy is an adapter on it, and the base itself is
the same weights with every adapter off. It knows nothing of users, sessions or the web; it serves one reply at a time
and is not thread-safe. Replies of many people at once are `training.models.chat_batch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.dialogue import Dialogue, cut_at_stop, reply_so_far
from training.models import language_model, rollouts
from training.models.encoding import encode_prompt
from training.models.language_model import LanguageModel


@dataclass
class _Base:
    """Base weights in memory and the adapters on them, by folder; shared by all policies made from it."""

    language: LanguageModel
    names: dict[Path, str]


class ChatPolicy:
    """A base with or without an adapter, ready to reply."""

    def __init__(self, base: _Base, adapter: Path | None) -> None:
        self._base = base
        self._adapter = adapter

    @classmethod
    def load(
        cls, base: str, model_folder: Path | None = None, adapter: Path | None = None, device: str = "auto",
        precision: str = "fp32",
    ) -> ChatPolicy:  # fmt: skip
        """Load a policy.

        Args:
            base: a name as a person types it (see `training.run.model_names`).
            model_folder: `model/` of an sft stage, or of a ppo stage that trained every weight; it then takes the
                base's place.
            adapter: `adapter/` of a ppo stage; None for the base alone.

        Raises:
            ModelUnavailable: something cannot be loaded.
        """
        language = language_model.load(model_folder or base, language_model.pick_device(device), precision)
        return cls(_Base(language, {}), None).with_adapter(adapter)

    def with_adapter(self, adapter: Path | None) -> ChatPolicy:
        """Another policy on the same base weights, which are not loaded again; None for the base alone."""
        base = self._base
        if adapter is not None and adapter not in base.names:
            name = f"policy{len(base.names)}"
            base.language = language_model.load_adapter(base.language, adapter, name=name)
            base.names[adapter] = name
        return ChatPolicy(base, adapter)

    @property
    def longest(self) -> int:
        """Positions the model has, for a dialogue and its reply together."""
        return self._base.language.longest

    def count_tokens(self, text: Dialogue | str) -> int:
        """Tokens that a dialogue takes before the reply begins, or those of a reply."""
        tokenizer = self._base.language.tokenizer
        if isinstance(text, str):
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return len(encode_prompt(tokenizer, text))

    def stream(
        self, dialogue: Dialogue, temperature: float = 1.0, top_p: float = 1.0, max_new_tokens: int = 256,
        seed: int | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """The reply in pieces of text; joined they are the whole reply. Stop iterating to stop decoding.

        Args:
            dialogue: messages, the user's last.
            seed: the same seed gives the same reply; None: a random one.
        """
        generator = torch.Generator()
        _ = generator.seed() if seed is None else generator.manual_seed(seed)
        sampling = rollouts.Sampling(max_new_tokens, temperature, top_p)
        language = self._base.language
        ids, mask = rollouts.pad_prompts(language, [dialogue], max_new_tokens)
        if self._adapter is not None:
            # Without inference_mode, set_adapter would make the adapter's weights trainable.
            language.adapter.set_adapter(self._base.names[self._adapter], inference_mode=True)
        with language_model.reference(language) if self._adapter is None else nullcontext():
            steps = rollouts.decode(language, ids, mask, sampling, generator)
            yield from pieces(language.tokenizer, (int(step.tokens[0]) for step in steps))


def pieces(tokenizer: Any, tokens: Iterator[int]) -> Iterator[str]:
    """Text of a growing list of tokens, piece by piece."""
    reply = ReplyText(tokenizer)
    for token in tokens:
        if piece := reply.add(token):
            yield piece
        if reply.over:
            return
    if piece := reply.rest():
        yield piece


class ReplyText:
    """The text of a growing reply.

    A piece is held back while it may be half a character, the start of a stop string or space at the end of the reply.

    Attributes:
        over: whether another turn has begun, so that nothing more belongs to the reply.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.over = False
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = ""

    def add(self, token: int) -> str:
        """The piece that is certain with this token; often none."""
        self._ids.append(token)
        text, self.over = reply_so_far(self._tokenizer.decode(self._ids, skip_special_tokens=True))
        return self._piece(text)

    def rest(self) -> str:
        """What was held back, once no token will come."""
        return self._piece(cut_at_stop(self._tokenizer.decode(self._ids, skip_special_tokens=True)))

    def _piece(self, text: str) -> str:
        if len(text) <= len(self._shown) or not text.startswith(self._shown):
            return ""
        piece, self._shown = text[len(self._shown):], text
        return piece
