"""Talking to policies that share one base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny_models import PROMPTS
from training.config import Lora
from training.models import language_model
from training.models.chat import ChatPolicy, pieces


@pytest.fixture
def adapters(tiny_base: Path, tmp_path: Path) -> list[Path]:
    """Folders of two adapters that say other things than the base and than each other."""
    for number in (1, 2):
        torch.manual_seed(number)
        language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
        for parameter in language_model.trainable_parameters(language):
            torch.nn.init.normal_(parameter, std=0.3)
        language_model.save_adapter(language, tmp_path / str(number))
    return [tmp_path / "1", tmp_path / "2"]


def reply(policy: ChatPolicy) -> str:
    return "".join(policy.stream(PROMPTS[0], temperature=1.0, max_new_tokens=12, seed=5))


def test_policies_on_one_base_keep_their_own_voice(tiny_base: Path, adapters: list[Path]) -> None:
    base = ChatPolicy.load(str(tiny_base), device="cpu")
    alone = reply(base)
    first, second = base.with_adapter(adapters[0]), base.with_adapter(adapters[1])
    loaded = [reply(ChatPolicy.load(str(tiny_base), adapter=adapter, device="cpu")) for adapter in adapters]
    assert [reply(first), reply(second)] == loaded
    assert reply(base) == alone
    assert reply(second.with_adapter(None)) == alone
    assert reply(base.with_adapter(adapters[0])) == loaded[0]
    assert len({alone, *loaded}) == 3


def test_a_reply_that_is_not_read_to_its_end_leaves_the_policy_whole(tiny_base: Path, adapters: list[Path]) -> None:
    base = ChatPolicy.load(str(tiny_base), device="cpu")
    tuned = base.with_adapter(adapters[0])
    before, after_first = reply(tuned), base.stream(PROMPTS[0], seed=1)
    next(after_first)
    after_first.close()
    assert reply(tuned) == before


def test_the_same_seed_gives_the_same_reply(tiny_base: Path) -> None:
    policy = ChatPolicy.load(str(tiny_base), device="cpu")
    assert reply(policy) == reply(policy)
    assert len({"".join(policy.stream(PROMPTS[0], max_new_tokens=12)) for _ in range(4)}) > 1


def test_the_demo_policy_streams_a_reply_in_pieces() -> None:
    policy = ChatPolicy.load("demo-world", device="cpu")
    parts = list(policy.stream(PROMPTS[0], max_new_tokens=24, seed=0))
    assert len(parts) > 2
    assert "".join(parts) == "".join(parts).strip() != ""


class Characters:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("raw_reply", "expected"),
    [
        ("Hello there", "Hello there"),
        (" Hello  ", "Hello"),
        ("Hello\n\nthere", "Hello\n\nthere"),
        ("Hello\n\nHuman: and now you", "Hello"),
        ("Hello\n\nHuma", "Hello\n\nHuma"),
        ("caf\u00e9 \U0001f600!", "caf\u00e9 \U0001f600!"),
        ("", ""),
    ],
)
def test_pieces_join_to_the_reply_and_none_is_taken_back(raw_reply: str, expected: str) -> None:
    parts = list(pieces(Characters(), iter(raw_reply.encode())))
    assert "".join(parts) == expected
    assert all("\ufffd" not in part for part in parts)


def test_what_may_become_a_stop_string_is_held_back() -> None:
    parts = []
    stream = pieces(Characters(), iter(b"Oh\n\nHuman: x"))
    for part in stream:
        parts.append(part)
        assert "\n" not in part
    assert parts == ["O", "h"]
