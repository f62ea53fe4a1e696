"""Models of given shapes with random weights, their tokenizer and prompts of a given length, for
benchmarks of speed.

It imports nothing of Concord: the peer's process, in an environment of its own, makes the same models from the same
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

# Name: hidden, intermediate, layers, heads, key-value heads, vocabulary. The tied embedding counts once.
SHAPES: dict[str, tuple[int, int, int, int, int, int]] = {
    "tiny": (64, 128, 2, 4, 4, 256),
    "10m": (256, 1024, 8, 4, 4, 8192),
    "0.1b": (768, 2048, 12, 12, 12, 32_000),
    "135m": (576, 1536, 30, 9, 3, 49_152),
    "0.5b": (896, 4864, 24, 14, 2, 151_936),
    "1.5b": (1536, 8960, 28, 12, 2, 151_936),
}


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token a word; its template adds nothing, so a prompt of n words has n tokens."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    words = {token: i for i, token in enumerate([*special, *(f"w{i}" for i in range(vocabulary - len(special)))])}
    core = Tokenizer(WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(prefix="\x00", cleanup=False)  # a space between words
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
                                        unk_token="<unk>", clean_up_tokenization_spaces=False)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def config_of(shape: str, longest: int = 1024) -> LlamaConfig:
    hidden, intermediate, layers, heads, kv_heads, vocabulary = SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=longest,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def make_policy(folder: Path, shape: str, seed: int = 0) -> Path:
    """A random policy with its tokenizer, as a folder of a saved model."""
    torch.manual_seed(seed)
    config = config_of(shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(config.vocab_size).save_pretrained(folder)
    return folder


def make_reward_model(folder: Path, shape: str, heads: int = 1, seed: int = 1) -> Path:
    """A random reward model of the same shape with `heads` heads on its trunk."""
    torch.manual_seed(seed)
    config = config_of(shape)
    config.num_labels = heads
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=config.hidden_size ** -0.5)
    model.save_pretrained(folder)
    return folder


def make_prompts(count: int, words: int, shape: str, seed: int = 2) -> list[str]:
    """Prompts of random words, each of `words` tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, SHAPES[shape][5] - 4, (count, words), generator=generator)
    return [" ".join(f"w{i}" for i in row) for row in ids.tolist()]


class Memory:
    """Peak memory since a mark: bytes on the GPU where there is one in use, else of the process's resident set."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._before = 0

    def mark(self) -> None:
        """From now on: what is held already does not count."""
        if self._cuda:
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            self._before = _status("VmRSS")

    def peak(self) -> int:
        """Bytes above the mark at the worst moment since."""
        return (torch.cuda.max_memory_allocated() if self._cuda else _status("VmHWM")) - self._before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key + ":")).split()[1])


def dtype_of(name: str) -> Any:
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
