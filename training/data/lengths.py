"""How long texts are: in words, in characters, or in tokens of a model's tokenizer.

Torch-free. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from tokenizers import Tokenizer

from training.errors import ModelUnavailable

Lengths: TypeAlias = Callable[[Sequence[str]], list[int]]
TOKENIZER_FILE = "tokenizer.json"


def words(texts: Sequence[str]) -> list[int]:
    """Parts of a text between white space."""
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def tokens_of(folder: Path) -> Lengths:
    """Counts tokens as the model in a folder reads them, without those that a chat template adds.

    Raises:
        ModelUnavailable: the folder has no tokenizer that can be read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception as error:  # the library raises a bare Exception
        raise ModelUnavailable(f"The tokenizer of '{folder.name}' cannot be read: {str(error)[:200]}",
                               f"Put its {TOKENIZER_FILE} into the folder, or count words.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return count
