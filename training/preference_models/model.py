"""One preference model: a trunk with one linear head per principle, how it is created, and how it is saved.

Left out: LoRA on embeddings, and heads of more than one layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.config import Lora
from training.errors import BadSettings, ModelUnavailable
from training.models import fast_layers
from training.models.language_model import base_location, translate_oom
from training.models.loaded_shape import last_width, trunk_of
from training.models.lora_targets import ALL, lora_targets
from training.preference_models.split import decoder_layers

HEAD, TRUNK = "head.safetensors", "trunk"


class PreferenceModel(nn.Module):
    """A trunk and a linear head: token ids to one score per principle, for each row."""

    def __init__(self, trunk: Any, head: nn.Linear, precision: str = "fp32") -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.precision = precision

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores [batch, heads] in fp32 of ids [batch, tokens] padded at the right, mask 1 on real tokens."""
        return self.head(last_of(self.hidden(ids, mask), mask).float())

    def hidden(self, ids: Tensor, mask: Tensor, **positions: Tensor) -> Tensor:
        """The trunk's last hidden states [batch, tokens, width]; the mask may be one of attention, with four axes."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            states: Tensor = self.trunk(input_ids=ids, attention_mask=mask, use_cache=False,
                                        **positions).last_hidden_state
        return states


def last_of(hidden: Tensor, mask: Tensor) -> Tensor:
    """The hidden state of each row's last real token, [rows, tokens, hidden] -> [rows, hidden]."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]


def load_trunk(base: str | Path, device: torch.device | str, precision: str) -> Any:
    """The decoder of a base without its language head, frozen. Raises ModelUnavailable."""
    from transformers import AutoModel, AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    loading: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "dtype": dtype}
    try:
        with translate_oom():
            trunk = AutoModel.from_pretrained(base_location(base), **loading)
            if trunk.get_output_embeddings() is not None:  # some multimodal families have no class without a head
                trunk = trunk_of(AutoModelForCausalLM.from_pretrained(base_location(base), **loading))
            trunk = trunk.to(device).eval().requires_grad_(False)
            fast_layers.prepare(trunk, trunk.device)
            return trunk
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise ModelUnavailable(f"The base '{base}' of a preference model could not be loaded: {reason}.",
                               "Check its name and your access to the hub, or name a local folder.") from error


def new_model(base: str, lora: Lora, device: torch.device | str, precision: str, *, heads: int = 1, layers: int = 0,
              full: bool = False) -> tuple[PreferenceModel, Any]:
    """A trainable preference model and the peft model that saves its adapter; the caller seeds torch.

    Args:
        heads: principles that it scores.
        layers: upper layers that the adapter is put on, 0 for all of them.
        full: train the whole base instead, in fp32 with bf16 in the forward pass; there is no adapter then.

    Raises:
        BadSettings: the base has fewer layers.
        ModelUnavailable: the base cannot be loaded.
    """
    from peft import LoraConfig, get_peft_model

    trunk = load_trunk(base, device, "fp32" if full else precision)
    width = last_width(trunk)
    head = nn.Linear(width, heads, bias=False)
    nn.init.normal_(head.weight, std=width ** -0.5)
    if full:
        return PreferenceModel(trunk.requires_grad_(True), head.to(device), precision), None
    lora_config = LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout,
                        target_modules=_upper_linears(trunk, base, layers) if layers else lora_targets(trunk))
    adapter = get_peft_model(trunk, lora_config)
    # peft would record the path on this machine; the name in the recipe is valid everywhere.
    adapter.peft_config["default"].base_model_name_or_path = base
    return PreferenceModel(trunk, head.to(device)), adapter


def save(folder: Path, model: PreferenceModel, adapter: Any) -> None:
    """Write the adapter, or the whole trunk where there is none, and the head; `card.json` is the stage's to write."""
    if adapter is None:
        model.trunk.save_pretrained(str(folder / TRUNK))
    else:
        adapter.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub about the base
    save_file({"weight": model.head.weight.detach().cpu().contiguous()}, folder / HEAD)


def load_head(folder: Path, hidden: int, device: torch.device | str) -> nn.Linear:
    """The head of a saved model, however many principles it scores. Raises ModelUnavailable."""
    try:
        weight = load_file(folder / HEAD)["weight"]
        head = nn.Linear(hidden, len(weight), bias=False)
        head.load_state_dict({"weight": weight})
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(f"The head of a preference model cannot be read: {error}.", "Train it again.") from error
    return head.to(device)


def _upper_linears(trunk: Any, base: str, layers: int) -> list[str]:
    """The full names of all linear maps in the upper `layers` layers."""
    from transformers.pytorch_utils import Conv1D

    path, modules = decoder_layers(trunk)
    if layers > len(modules):
        raise BadSettings(f"'preference_model.lora_layers' is {layers} and '{base}' has {len(modules)} layers.",
                          f"Set it to {len(modules)} or fewer, or to 0 for all of them.")
    names = [f"{path}.{index}.{name}" for index in range(len(modules) - layers, len(modules))
             for name, module in modules[index].named_modules() if isinstance(module, nn.Linear | Conv1D)]
    targets = lora_targets(trunk)
    return names if targets == ALL else [name for name in names if name in targets]
