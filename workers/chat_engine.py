"""The thread that draws all replies: it advances every batch that has some, in turn, and sleeps while none has.

Policies are used by this thread alone, and loaded and scored beside it: that takes a share of the processor from those
who chat, and nothing else. What does make them wait: an adapter that is put on their base for the first time, and a
chunk of somebody's prompt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.dialogue import Dialogue

if TYPE_CHECKING:
    from training.models.chat_batch import ChatBatch, Reply
    from training.models.mixed_lora import Policy

log = logging.getLogger("concord.inference")


class ChatEngine:
    """Starts its thread at the first reply."""

    def __init__(self) -> None:
        self._batches: list[ChatBatch] = []  # those that may have replies
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def begin(self, batch: ChatBatch, put: Callable[[], Reply]) -> Reply:
        """Have a reply drawn: `put` gives it to the batch."""
        reply = put()
        with self._change:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="chat-engine", daemon=True)
                self._thread.start()
            if batch not in self._batches:
                self._batches.append(batch)
            self._change.notify_all()
        return reply

    def _run(self) -> None:
        while True:
            with self._change:
                self._batches = [batch for batch in self._batches if not batch.is_idle]
                self._change.wait_for(lambda: self._batches)
                batches = list(self._batches)
            for batch in batches:
                try:
                    batch.advance()
                except Exception as error:  # of the whole batch: a single reply keeps its own
                    log.exception("a batch of chats cannot go on")
                    batch.fail(error)


@dataclass(frozen=True)
class BatchedPolicy:
    """A policy whose replies are drawn in the batch of its base; `adapter` is None for the base alone."""

    engine: ChatEngine
    batch: ChatBatch
    adapter: Policy

    @property
    def longest(self) -> int:
        return self.batch.longest

    def count_tokens(self, text: Dialogue | str) -> int:
        return self.batch.count_tokens(text)

    def begin(self, dialogue: Dialogue, tell: Callable[[], None] = lambda: None, *, temperature: float = 1.0,
              top_p: float = 1.0, max_new_tokens: int = 256, seed: int | None = None) -> Reply:  # fmt: skip
        """A reply to the dialogue; `tell` is called at its first token and at its end.

        Raises:
            BadData: the chat template refuses the dialogue.
        """
        from training.models.rollouts import Sampling

        sampling = Sampling(max_new_tokens, temperature, top_p)
        return self.engine.begin(self.batch, lambda: self.batch.put(dialogue, self.adapter, sampling, seed, tell))
