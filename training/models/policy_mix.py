"""Policies on one base mixed by weights into a policy of its own, exactly: rewarded soups (arXiv 2306.04488).

An adapter adds s B A to a layer's weight. The mix adds the weighted sum of these products, and is itself one plain LoRA
adapter: the A of all policies are stacked, and their B, each times its weight and its scaling, stand side by side:

    sum_i w_i s_i B_i A_i = [w_1 s_1 B_1, w_2 s_2 B_2, ...] [A_1; A_2; ...]

Its rank is the sum of theirs. Summing A and B themselves, as the paper's code does for weights, would add products of
one policy's A with another's B. Every layer gets the same rank, with zeros where a policy has less or leaves the layer
out, since programs that serve adapters read no ranks per layer. The factors are fp32. Left out: DoRA, biases, whole
modules and adapters on embeddings, convolutions and experts, which are no sum of such products; policies of which every
weight was trained; a smaller rank by singular values, which would not be exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.errors import BadData, BadSettings, ModelUnavailable
from training.run.artifacts import appearing_folder, file_digest, is_complete, read_json, write_json
from training.run.jobs import read_job

MIX_FILE = "mix.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_READ = frozenset({
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out", "use_rslora",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
})  # fmt: skip
"""Settings of peft that a mix takes into account, or that say nothing of the product. Any other makes an adapter more
than its products, unless it has its default."""
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Ways to begin that leave the base as it is; PiSSA and its like change it."""


class Weighted(NamedTuple):
    """A policy and its weight, which may be negative or above 1.

    Attributes:
        folder: of a complete ppo stage, of a policy that was kept, or of an adapter.
    """

    folder: Path
    weight: float


@dataclass(frozen=True)
class _Policy:
    """An adapter that was read.

    Attributes:
        base: what must be the same for all: the base's name and revision, and the sft stage it went through.
        factors: (A, scaling times B) by layer, [rank, inputs] and [outputs, rank] in fp64.
    """

    name: str
    weight: float
    base: dict[str, str]
    digest: str
    settings: LoraConfig
    factors: dict[str, tuple[Tensor, Tensor]]


def mix_policies(policies: Sequence[Weighted], out: Path) -> None:
    """Write the weighted sum of policies to a folder as an adapter with a `mix.json` that names them.

    Raises:
        BadSettings: there is no policy, or a weight is not finite.
        BadData: a folder holds no finished policy with an adapter, the bases differ, or `out` exists.
        ModelUnavailable: an adapter cannot be read, or is no plain LoRA.
    """
    if not policies:
        raise BadSettings("No policy is given.", "Name at least one with its weight, such as --policy DIR=0.3.")
    for folder, weight in policies:
        if not math.isfinite(weight):
            raise BadSettings(f"The weight of '{folder}' is {weight}.", "Give a finite number, such as 0.3.")
    read = [_read(*policy) for policy in policies]
    for other in read[1:]:
        _check_same_base(read[0], other)
    factors = _sum(read)
    rank = max(len(a) for a, _ in factors.values())
    with appearing_folder(out) as folder:
        tensors = {f"{_PREFIX}{layer}{end}": tensor for layer, pair in factors.items()
                   for end, tensor in zip((_A, _B), _padded(*pair, rank), strict=True)}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        first = read[0].settings
        LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=sorted(factors),
                   fan_in_fan_out=any(policy.settings.fan_in_fan_out for policy in read), task_type=first.task_type,
                   base_model_name_or_path=first.base_model_name_or_path, revision=first.revision, inference_mode=True,
                   ).save_pretrained(str(folder))  # fmt: skip
        write_json(folder / MIX_FILE, {
            "version": 1, "kind": "soup", "base": read[0].base, "rank": rank,
            "policies": [{"policy": policy.name, "weight": policy.weight, "sha256": policy.digest} for policy in read],
        })  # fmt: skip


def _read(folder: Path, weight: float) -> _Policy:
    adapter = adapter_of(folder)
    name = _name(adapter)
    try:
        settings = PeftConfig.from_pretrained(str(adapter))
        tensors = load_file(adapter / WEIGHTS)
        sft = _sft_of(adapter)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")[:200]
        raise ModelUnavailable(f"The adapter of '{name}' cannot be read: {reason}.",
                               "Copy the whole folder again, or train the policy again.") from error
    if not isinstance(settings, LoraConfig):
        raise _no_plain_lora(name, f"its kind is {settings.peft_type}")
    _check_plain(name, settings)
    base = {"name": str(settings.base_model_name_or_path or ""), "revision": str(settings.revision or ""),
            "sft": sft}
    return _Policy(name, weight, base, file_digest(adapter / WEIGHTS), settings, _factors(name, settings, tensors))


def adapter_of(folder: Path) -> Path:
    """The folder of the adapter that a ppo stage, a kept policy or an adapter's own folder holds.

    Raises:
        BadData: it holds none, or the stage is not finished.
    """
    folder = folder.resolve()
    if (folder / "job.json").is_file():
        if (kind := read_job(folder).kind) != "ppo":
            raise BadData(f"'{folder.name}' is a stage of kind '{kind}', which makes no policy.",
                          "Give the folder of a stage 'ppo', or of an adapter.")
        if not is_complete(folder):
            raise BadData(f"The stage in '{folder.name}' is not finished.", "Wait until it is, then mix it again.")
    for place in (folder, folder / "adapter"):
        if (place / "adapter_config.json").is_file():
            return place
    if (folder / "model").is_dir() or (folder / "config.json").is_file():
        raise BadData(f"Every weight of the policy in '{folder.name}' was trained; it has no adapter to mix.",
                      "Mix policies that were trained with 'policy.lora'.")
    raise BadData(f"There is no adapter in '{folder}'.", "Give the folder of a stage 'ppo', or of an adapter.")


def _name(adapter: Path) -> str:
    """How a mix names an adapter: by its stage and its place in it, or by its folder, without the places above."""
    path = adapter.resolve()
    stage = _stage_of(path)
    return path.name if stage is None else str(path.parent.relative_to(stage.parent))


def _sft_of(adapter: Path) -> str:
    """The identity of the sft stage whose model an adapter was trained on: every one of them is called "model". Empty
    where there was none, or where nothing beside the adapter says so."""
    if (adapter / MIX_FILE).is_file():
        return str(read_json(adapter / MIX_FILE).get("base", {}).get("sft", ""))
    stage = _stage_of(adapter.resolve())
    sft = None if stage is None else read_job(stage).inputs.get("sft")
    if sft is None:
        return ""
    return read_job(sft).identity if (sft / "job.json").is_file() else sft.name


def _stage_of(adapter: Path) -> Path | None:
    """The folder of the stage that an adapter is in: one of a kept policy is kept/step-N/adapter."""
    return next((folder for folder in adapter.parents[:3] if (folder / "job.json").is_file()), None)


def _check_plain(name: str, settings: LoraConfig) -> None:
    plain = LoraConfig()
    for each in fields(LoraConfig):
        value = getattr(settings, each.name)
        is_plain = value in _PLAIN_STARTS if each.name == "init_lora_weights" else (
            each.name in _READ or not value or value == getattr(plain, each.name))
        if not is_plain:
            raise _no_plain_lora(name, f"'{each.name}' is {value}")


def _factors(name: str, settings: LoraConfig, tensors: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    strange = [key for key in tensors if not key.startswith(_PREFIX) or not key.endswith((_A, _B))]
    layers = sorted({key.removesuffix(_A).removesuffix(_B).removeprefix(_PREFIX) for key in tensors})
    factors = {}
    for layer in layers if not strange else ():
        a, b = tensors.get(f"{_PREFIX}{layer}{_A}"), tensors.get(f"{_PREFIX}{layer}{_B}")
        if a is None or b is None or a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1] or not len(a):
            strange.append(layer)
            continue
        alpha = settings.alpha_pattern.get(get_pattern_key(list(settings.alpha_pattern), layer), settings.lora_alpha)
        if not isinstance(alpha, int | float):
            raise _no_plain_lora(name, f"'lora_alpha' of the layer {layer} is {alpha!r}")
        scaling = alpha / (math.sqrt(len(a)) if settings.use_rslora else len(a))
        if not (bool(a.isfinite().all()) and bool(b.isfinite().all())):
            raise ModelUnavailable(f"The adapter of '{name}' is not finite in the layer {layer}.",
                                   "Train the policy again, with a lower learning rate.")
        factors[layer] = (a.double(), b.double() * scaling)
    if strange:
        raise _no_plain_lora(name, f"it holds {strange[0]}")
    if not factors:
        raise _no_plain_lora(name, "it holds no layer")
    return factors


def _no_plain_lora(name: str, reason: str) -> ModelUnavailable:
    return ModelUnavailable(f"The adapter of '{name}' is no plain LoRA: {reason}.",
                            "Mix adapters without DoRA, biases and whole modules, such as Concord's own.")


def _check_same_base(first: _Policy, other: _Policy) -> None:
    if first.base != other.base:
        key = next(key for key in first.base if first.base[key] != other.base[key])
        words = {"name": "the base", "revision": "the revision of the base", "sft": "the sft stage"}[key]
        raise BadData(f"'{first.name}' and '{other.name}' have different bases: {words} is "
                      f"'{first.base[key] or 'none'}' and '{other.base[key] or 'none'}'.",
                      "Mix policies that were trained from one base.")
    for layer in sorted(first.factors.keys() & other.factors.keys()):
        shapes = [(b.shape[0], a.shape[1]) for a, b in (first.factors[layer], other.factors[layer])]
        if shapes[0] != shapes[1]:
            raise BadData(f"'{first.name}' and '{other.name}' have different bases: the layer {layer} maps "
                          f"{shapes[0][1]} to {shapes[0][0]} and {shapes[1][1]} to {shapes[1][0]} values.",
                          "Mix policies that were trained from one base.")


def _sum(policies: Sequence[_Policy]) -> dict[str, tuple[Tensor, Tensor]]:
    """The factors of the weighted sum of all policies, by layer, in fp32."""
    total = {}
    for layer in sorted({layer for policy in policies for layer in policy.factors}):
        own = [(policy.weight, *policy.factors[layer]) for policy in policies if layer in policy.factors]
        a = torch.cat([a for _, a, _ in own]).float()
        b = torch.cat([weight * b for weight, _, b in own], dim=1).float()
        if not bool(b.isfinite().all()):
            raise BadSettings(f"With these weights the mix is not finite in the layer {layer}.", "Give smaller ones.")
        total[layer] = (a, b)
    return total


def _padded(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    missing = rank - len(a)
    pad: Any = torch.nn.functional.pad
    return pad(a, (0, 0, 0, missing)).contiguous(), pad(b, (0, missing)).contiguous()
