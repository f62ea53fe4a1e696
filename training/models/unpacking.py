"""A GGUF file becomes a folder of safetensors in bf16, once: packed weights can neither be trained nor saved.

Unpacked weights are what the packed ones stand for: a model that was quantized to four bits keeps that precision. Left
out: families that transformers cannot read out of a GGUF file.
"""

from __future__ import annotations

import fcntl
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch

from training.errors import ModelUnavailable
from training.run.packed_models import PackedModel


def unpacked(model: PackedModel) -> Path:
    """The folder of the model, made now if it has not been made before; of two processes one makes it.

    Raises:
        ModelUnavailable: transformers cannot read the file.
    """
    if model.is_unpacked:
        return model.folder
    model.folder.parent.mkdir(parents=True, exist_ok=True)
    with (model.folder.parent / f"{model.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not model.is_unpacked:
            _unpack(model)
    return model.folder


def _unpack(model: PackedModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    unfinished = model.folder.with_name(f"{model.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        folder, name = str(model.file.parent), model.file.name
        with redirect_stderr(StringIO()):  # bars of progress, whose lines fill the log of a stage
            weights = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.bfloat16,
                                                           quantization_config=GgufConfig(dequantize=True))
            weights.save_pretrained(unfinished)
            AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(unfinished)
    except OSError:
        raise  # a full disk is told as such
    except Exception as error:  # a foreign file may break transformers in any way
        raise ModelUnavailable(f"The file '{model.file.name}' cannot be unpacked: {str(error).strip()[:300]}.",
                               "Give a folder of safetensors, or a GGUF file of a family that transformers reads "
                               "(Llama, Qwen, Gemma, Phi and others).") from error
    finally:
        if not (unfinished / "tokenizer.json").is_file():
            shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.rename(model.folder)
