"""Language models: where they come from, and the policy with its adapter, its value head and its reference.

A base is "demo-world" (the weights that ship with the project), a folder or a hub id. All are loaded in the same way:
safetensors only, and no code from the model's repository is run.

One set of base weights serves the policy (LoRA adapter on), the reference (adapter off) and, through a linear head on
the last hidden state, the critic. A separate critic is a second trunk. A policy of which every weight is trained
(`training.models.full_weights`) has a frozen copy of what they were. Left out: quantised bases.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as transformers_logging

from training.config import Lora
from training.errors import BadSettings, ModelUnavailable, OutOfMemory, TrainingError, is_out_of_memory
from training.models import fast_layers, unpacking
from training.models.encoding import belongs_to
from training.models.encoding import encode_prompt as encode_prompt
from training.models.loaded_shape import head_width, last_width, model_positions, name_trunk, trunk_of
from training.models.lora_targets import lora_targets
from training.run.model_names import locate, model_home
from training.run.model_shape import token_rows

# Its bars are drawn once per shard on stderr, where the stage's log is kept.
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class LanguageModel:
    """A loaded causal language model.

    Attributes:
        name: the base as it may be written into files: a hub id, or a folder's last part.
        model: the transformers model; after `add_adapter` it holds the LoRA layers too.
        end_ids: tokens that end a reply. There is at least one.
        pad_id: the padding token, never an end token. Padding is recognised by masks, not by this id.
        longest: positions the model has.
        adapter: the peft model around `model`, None for a base alone.
        reference_weights: those of the reference, one for each parameter of `model`, where all of them are trained.
    """

    name: str
    model: Any
    tokenizer: Any
    device: torch.device
    end_ids: tuple[int, ...]
    pad_id: int
    longest: int
    adapter: Any = None
    reference_weights: tuple[Tensor, ...] = ()


class ValueHead(nn.Module):
    """The critic: a linear map from a hidden state to the expected reward. It starts at zero everywhere."""

    def __init__(self, hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., hidden] -> [...], in fp32 whatever the model computes in."""
        return self.linear(hidden.float()).squeeze(-1)

    def save(self, path: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path)

    def load(self, path: Path) -> None:
        self.load_state_dict(load_file(path))


class SeparateCritic(nn.Module):
    """A separate critic: a trunk that starts as a copy of the policy's, trained in full in fp32, with a value head.

    Where the policy computes in bf16 so does this one's forward pass; its weights stay fp32.
    """

    def __init__(self, trunk: Any, autocast_bf16: bool) -> None:
        super().__init__()
        self.trunk = trunk.float().requires_grad_(True)
        self.head = ValueHead(last_width(trunk))
        self._autocast_bf16 = autocast_bf16

    def hidden(self, **inputs: Any) -> Tensor:
        """The last hidden states, [batch, tokens, hidden]."""
        device = inputs["input_ids"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self._autocast_bf16):
            hidden_states: Tensor = self.trunk(**inputs).last_hidden_state
        return hidden_states

    def forward(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.head(hidden)
        return values

    def save(self, path: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path)

    def load(self, path: Path) -> None:
        self.load_state_dict(load_file(path))


Critic = ValueHead | SeparateCritic


def make_critic(language: LanguageModel, kind: str) -> Critic:
    """A "shared" or "separate" critic on the model's device; the model has no adapter yet. Its values begin at zero."""
    if kind == "shared":
        return ValueHead(head_width(language.model)).to(language.device)
    trunk = copy.deepcopy(trunk_of(language.model))
    return SeparateCritic(trunk, autocast_bf16=language.model.dtype == torch.bfloat16).to(language.device)


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "mps" means on this machine.

    Raises:
        ModelUnavailable: this machine has no such device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device]))
    if not available[name]:
        raise ModelUnavailable(f"This machine has no '{name}' device.", "Set the device to 'auto' or 'cpu'.")
    return torch.device(name)


def base_location(base: str | Path) -> str:
    """What transformers is given for a base: a folder's path or a hub id. A packed model is unpacked here.

    Args:
        base: a name as a person types it (see `training.run.model_names`), or the folder of a model made here.

    Raises:
        ModelUnavailable: the name means no model, or the folder holds none.
    """
    packed = None if isinstance(base, Path) else model_home().packed(base)
    folder = base if isinstance(base, Path) else unpacking.unpacked(packed) if packed is not None else locate(base)
    if folder is None:
        return str(base)
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"The folder {folder.name!r} holds no config.json.", "Name a folder of a saved model.")
    return str(folder.absolute())


def load_config(base: str | Path) -> Any:
    """The configuration of a base, without its weights. Raises ModelUnavailable."""
    with _loading(base):
        return AutoConfig.from_pretrained(base_location(base), trust_remote_code=False)


def load_tokenizer(base: str | Path) -> Any:
    """The tokenizer of a base.

    Raises:
        ModelUnavailable: it cannot be loaded, or it has no end-of-text token.
    """
    with _loading(base):
        tokenizer = AutoTokenizer.from_pretrained(base_location(base), trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise ModelUnavailable(
            f"The tokenizer of '{base}' has no end-of-text token.", "Choose a base whose tokenizer has an eos_token."
        )
    belongs_to(tokenizer, name_of(base), token_rows(load_config(base).to_dict()))
    return tokenizer


def name_of(base: str | Path) -> str:
    """A base as it may be written into files and messages: a hub id, or a folder's last part."""
    return Path(base).name if isinstance(base, Path) or model_home().packed(base) or locate(base) else base


def load(base: str | Path, device: torch.device, precision: str = "fp32") -> LanguageModel:
    """Load a base in evaluation mode, all of its weights frozen.

    Args:
        base: a name as a person types it, or the folder of a model made here.
        precision: "fp32" or "bf16".

    Raises:
        ModelUnavailable: the base or its tokenizer cannot be loaded.
        OutOfMemory: it does not fit the device.
    """
    tokenizer = load_tokenizer(base)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with _loading(base), translate_oom():
        model, report = AutoModelForCausalLM.from_pretrained(
            base_location(base), trust_remote_code=False, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise ModelUnavailable(f"The weights of '{name_of(base)}' lack {len(missing)} of its tensors, the first of "
                                   f"them {missing[0]}: it would answer at random.",
                                   "Put the whole model into the folder, or choose another base.")
        name_trunk(model)
        model.to(device).eval().requires_grad_(False)
    fast_layers.prepare(model, device)
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    end_ids = tuple(sorted({tokenizer.eos_token_id, *([ends] if isinstance(ends, int) else ends or [])}))
    longest = model_positions(model) or 1 << 20
    belongs_to(tokenizer, name_of(base), int(model.get_input_embeddings().weight.shape[0]))
    return LanguageModel(name_of(base), model, tokenizer, device, end_ids, pad_id(tokenizer, end_ids), longest)


def pad_id(tokenizer: Any, end_ids: tuple[int, ...]) -> int:
    """A token id for padding that is no end token: with pad == eos the end of a reply could not be recognised."""
    candidates = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *range(len(end_ids) + 1))
    return next(id_ for id_ in candidates if id_ is not None and id_ not in end_ids)


def add_adapter(language: LanguageModel, lora: Lora) -> LanguageModel:
    """A new, trainable LoRA adapter on every linear layer of the decoder. It changes nothing until it is trained.

    Dropout stays out of policies: with it the probabilities of the rollout and of the update would differ.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=lora_targets(language.model),
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(language.model, settings)
    # peft would record the path that the base was loaded from, which is valid on this machine only.
    wrapped.peft_config["default"].base_model_name_or_path = language.name
    return replace(language, adapter=wrapped)


def load_adapter(
    language: LanguageModel, folder: Path, trainable: bool = False, name: str = "default",
) -> LanguageModel:  # fmt: skip
    """The model with the LoRA adapter saved in a folder, beside those that it has already.

    Args:
        name: what peft calls it; another one for each adapter of a model.

    Raises:
        ModelUnavailable: the adapter cannot be read or belongs to another base.
    """
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelUnavailable("The adapter's folder holds no adapter_model.safetensors.", "Train the policy again.")
    wrapped, options = language.adapter, {"is_trainable": trainable, "torch_device": str(language.device)}
    try:
        if wrapped is None:
            wrapped = PeftModel.from_pretrained(language.model, str(folder), adapter_name=name, **options)
        else:
            wrapped.load_adapter(str(folder), adapter_name=name, **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelUnavailable(
            f"The adapter does not fit its base: {_first_line(error)}.", "Choose the base that it was trained on."
        ) from error
    return replace(language, adapter=wrapped)


def save_adapter(language: LanguageModel, folder: Path) -> None:
    """Write the LoRA adapter as safetensors; `load_adapter` reads it."""
    # By default peft asks the hub whether the embeddings were resized.
    language.adapter.save_pretrained(str(folder), save_embedding_layers=False)


def trainable_parameters(language: LanguageModel) -> list[nn.Parameter]:
    """The parameters with gradients, in a fixed order: the adapter's, or all of a policy that is trained in full."""
    return [parameter for parameter in language.model.parameters() if parameter.requires_grad]


@contextmanager
def reference(language: LanguageModel) -> Iterator[None]:
    """Within it the model is the reference policy: its adapter is off, or the frozen weights stand in for its own."""
    if language.adapter is not None:
        with language.adapter.disable_adapter():
            yield
        return
    exchanged = list(language.model.parameters()) if language.reference_weights else []
    own_weights = [parameter.data for parameter in exchanged]
    try:
        for parameter, frozen in zip(exchanged, language.reference_weights, strict=True):
            parameter.data = frozen
        yield
    finally:
        for parameter, own in zip(exchanged, own_weights, strict=True):
            parameter.data = own


@contextmanager
def merged(language: LanguageModel) -> Iterator[None]:
    """Within it the adapter, if any, is added into the base weights, which makes decoding almost twice as fast.

    The original weights are saved and restored: adding and subtracting would leave rounding errors (the code of arXiv
    2406.07295 drifts in bf16 for this reason). Costs one copy of the adapted weights while it lasts. The weights stay
    where they are in memory: a CUDA graph reads them by their addresses.
    """
    layers = lora_layers(language)
    originals: list[tuple[Any, Tensor]] = []
    try:
        for layer in layers:
            weight = layer.get_base_layer().weight.data
            originals.append((layer, weight.clone()))
            for name in layer.active_adapters:
                weight += layer.get_delta_weight(name).to(weight.dtype)
                layer.merged_adapters.append(name)
        yield
    finally:
        for layer, original in originals:
            layer.get_base_layer().weight.data.copy_(original)
            layer.merged_adapters.clear()


@contextmanager
def gradient_checkpointing(language: LanguageModel, enabled: bool) -> Iterator[None]:
    """Gradient checkpointing, if enabled: activations inside layers are recomputed in the backward pass, not stored.

    Raises:
        BadSettings: the model does not support it.
    """
    if not enabled:
        yield
        return
    if not language.model.supports_gradient_checkpointing:
        raise BadSettings(f"{language.name!r} does not support gradient checkpointing.",
                          "Turn 'ppo.gradient_checkpointing' off and lower 'ppo.micro_batch'.")
    language.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layers = [module for module in language.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    try:
        for layer in layers:
            layer.training = True  # the layer only, not its children: dropout stays off
        yield
    finally:
        for layer in layers:
            layer.training = False
        language.model.gradient_checkpointing_disable()


@contextmanager
def translate_oom() -> Iterator[None]:
    """Translate the device's OOM errors into one that says what to do.

    Raises:
        OutOfMemory: in place of torch's own error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _out_of_memory(error) from error
        raise


def _out_of_memory(error: BaseException) -> OutOfMemory:
    return OutOfMemory(
        f"The model and its batch do not fit the memory: {_first_line(error) or 'no memory left'}.",
        "Lower the micro batch, the batch size or max_new_tokens, use bf16, or choose a smaller base.",
    )


@contextmanager
def _loading(base: str | Path) -> Iterator[None]:
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:  # a foreign config or weights may break transformers in any way
        raise ModelUnavailable(
            f"The base model '{base}' could not be loaded: {_first_line(error)}.",
            "Check its name and your access to the hub, or name a local folder with safetensors weights.",
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")[:300]


def lora_layers(language: LanguageModel) -> list[Any]:
    """The adapted layers, in the order of the model; none for a base alone."""
    if language.adapter is None:
        return []
    from peft.tuners.lora import LoraLayer

    return [module for module in language.model.modules() if isinstance(module, LoraLayer)]
