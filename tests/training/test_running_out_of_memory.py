"""Running out of memory is said as that, whichever library says so, and is never taken for a family that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from training.errors import BadData, OutOfMemory, is_out_of_memory
from training.models import chat_batch, exactness, question_tree
from training.models.language_model import load
from training.preference_models import split

ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), OutOfMemory("Full.", "Use less."),
          RuntimeError("CUDA error: out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")]
OTHERS = [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), BadData("No", "Try")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_it_is_known_in_every_librarys_words(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("probe", ["tree", "split", "batch", "decoding"])
def test_a_probe_of_a_family_hands_it_on(
    probe: str, error: Exception, tiny_base: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    language = load(str(tiny_base), torch.device("cpu"), "fp32")

    def run_out(*arguments: Any, **settings: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(question_tree, "read_trees", run_out)
    monkeypatch.setattr(split, "SplitTrunk", run_out)
    monkeypatch.setattr(chat_batch, "measure", run_out)
    monkeypatch.setattr(exactness, "measure", run_out)
    probes: dict[str, Callable[[], object]] = {
        "tree": lambda: question_tree.reads_trees(language),
        "split": lambda: split.splits_exactly(language.model.model, 1),
        "batch": lambda: chat_batch.shares_a_batch(language),
        "decoding": lambda: exactness.check_decoding(language, "policy.base"),
    }
    with pytest.raises(type(error)):
        probes[probe]()
