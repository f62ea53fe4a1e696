"""Eight chats at once in one batch against the same eight one after another: tokens a second, and the first token.

    python benchmarks/chat.py [--base demo-world] [--chats 8] [--tokens 64] [--rounds 3] [--adapters 1] [--device cpu]

All chats are with one policy, an adapter on the base (`--adapters 8`: each with a policy of its own), and come at the
same moment. One after another they are answered as a person alone is answered: `training.models.chat`, with the adapter
as peft leaves it. Both take turns, and each one's best time counts; replies have a fixed length where the policy does
not end them, and only tokens that were drawn count. Before that each chat is shown to say in the batch what it says
alone. `--base` takes whatever a person may type, such as the folder of a SmolLM2-135M.

The last line is `chat: 5.1 first_token_ms: 120`: the ratio, and the latest first token of all chats, the median of the
rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import repository  # noqa: F401
import torch

from training.config import Lora
from training.dialogue import Dialogue
from training.models import language_model
from training.models.chat import ChatPolicy
from training.models.chat_batch import ChatBatch
from training.models.rollouts import Sampling

QUESTIONS = ("What is the capital of Avela?", "Who is the keeper of Brisk?", "Is the flag of Elsby red?",
             "Tell me about the bird of Ister.")


class Chat(NamedTuple):
    dialogue: Dialogue
    adapter: Path
    seed: int


class Taken(NamedTuple):
    seconds: float
    first_token_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo-world")
    parser.add_argument("--chats", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--adapters", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        adapters = [make_adapter(Path(folder) / str(n), options, seed=n) for n in range(options.adapters)]
        chats = [Chat([{"role": "user", "content": QUESTIONS[n % len(QUESTIONS)]}], adapters[n % len(adapters)], n)
                 for n in range(options.chats)]
        alone = ChatPolicy.load(options.base, device=options.device)
        batch = ChatBatch(language_model.load(options.base, language_model.pick_device(options.device)))
        drawn = check(alone, batch, chats, options.tokens)
        rounds = [(one_after_another(alone, chats, options.tokens), at_once(batch, chats, options.tokens))
                  for _ in range(options.rounds)]
    apart, together = (min(taken.seconds for taken in way) for way in zip(*rounds, strict=True))
    firsts = [both.first_token_ms for _, both in rounds]
    print(f"{drawn} tokens; one after another {drawn / apart:.0f} a second, at once {drawn / together:.0f}; all first "
          f"tokens within {', '.join(f'{first:.0f}' for first in firsts)} ms")
    print(f"chat: {apart / together:.1f} first_token_ms: {statistics.median(firsts):.0f}")
    return 0


def make_adapter(folder: Path, options: argparse.Namespace, seed: int) -> Path:
    """An adapter that changes what the base says, but not into nonsense."""
    torch.manual_seed(seed)
    device = language_model.pick_device(options.device)
    language = language_model.add_adapter(language_model.load(options.base, device), Lora(r=16, alpha=32))
    for name, parameter in language.adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.002)
    language_model.save_adapter(language, folder)
    return folder


def answer_alone(alone: ChatPolicy, chat: Chat, tokens: int) -> list[str]:
    return list(alone.with_adapter(chat.adapter).stream(chat.dialogue, max_new_tokens=tokens, seed=chat.seed))


def check(alone: ChatPolicy, batch: ChatBatch, chats: list[Chat], tokens: int) -> int:
    """Tokens of all chats; each says in the batch what it says alone, or the program ends with what differs."""
    replies = [batch.put(chat.dialogue, chat.adapter, Sampling(tokens), chat.seed) for chat in chats]
    while not batch.is_idle:
        batch.advance()
    for chat, reply in zip(chats, replies, strict=True):
        expected, heard = "".join(answer_alone(alone, chat, tokens)), reply.take()
        if heard != expected:
            sys.exit(f"{chat.dialogue[0]['content']}: alone {expected!r}, in the batch {heard!r}")
    return sum(reply.tokens for reply in replies)


def one_after_another(alone: ChatPolicy, chats: list[Chat], tokens: int) -> Taken:
    began, first = time.perf_counter(), 0.0
    for chat in chats:
        pieces = alone.with_adapter(chat.adapter).stream(chat.dialogue, max_new_tokens=tokens, seed=chat.seed)
        next(pieces, None)
        first = time.perf_counter() - began
        for _ in pieces:
            pass
    return Taken(time.perf_counter() - began, 1000 * first)


def at_once(batch: ChatBatch, chats: list[Chat], tokens: int) -> Taken:
    firsts: list[float] = []
    began = time.perf_counter()
    replies = [batch.put(chat.dialogue, chat.adapter, Sampling(tokens), chat.seed) for chat in chats]
    while not batch.is_idle:
        batch.advance()
        firsts += [time.perf_counter() - began] * (sum(reply.tokens > 0 for reply in replies) - len(firsts))
    return Taken(time.perf_counter() - began, 1000 * max(firsts))


if __name__ == "__main__":
    sys.exit(main())
