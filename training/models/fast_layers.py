"""Norms, rotary positions and gated MLPs of a model on a GPU, each as one kernel where transformers runs many.

A layer of Llama is about 45 kernels as transformers writes it, of which a dozen are products: the rest are norms of
eight kernels, rotary positions of ten, activations. With few tokens, as in decoding, what a kernel computes is nothing
beside its start.

What a layer is, is not told by its name but tried: it is exchanged where the kernel gives the numbers of the layer's
own forward on random input. So a family whose norm adds one to its weight keeps its own. A tensor of another dtype than
the weights, as under autocast, goes through the layer's own forward too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

ROTARY = "apply_rotary_pos_emb"
"""A function of transformers' module of a family, which its attention layers look up there at each call."""

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest relative difference: a rounding or two of the dtype."""


def prepare(model: nn.Module, device: torch.device) -> None:
    """Make a model on a device as fast as it can be without changing what it computes; a CPU's is left as it is."""
    if device.type != "cuda":
        return
    # cuDNN makes a plan for each new shape of attention, and here nearly every pass has one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if has_kernels(device):
        use_kernels(model)


def has_kernels(device: torch.device) -> bool:
    """Whether kernels can be compiled for the device: Triton comes with torch's builds for CUDA."""
    return device.type == "cuda" and find_spec("triton") is not None


def runs_on(tensor: Tensor) -> bool:
    """Whether kernels run where a tensor is: a family's function is exchanged for its models on a CPU too."""
    return tensor.is_cuda


def use_kernels(model: nn.Module) -> dict[str, int]:
    """Exchange what can be exchanged in a model; how many of each kind: {"norm": 49, "mlp": 24, "rotary": 1}."""
    exchanged = {"norm": 0, "mlp": 0, "rotary": 0}
    rotaries: set[str] = set()
    for module in model.modules():
        if _is_norm(module):
            exchanged["norm"] += _exchange(module, _norm, next(module.parameters()).shape[0])
        elif _is_gated_mlp(module):
            exchanged["mlp"] += _exchange(module, _gated_mlp, next(module.parameters()).shape[1])
        elif hasattr(module, "q_proj") and hasattr(sys.modules[type(module).__module__], ROTARY):
            rotaries.add(type(module).__module__)
    dtype = next(model.parameters()).dtype
    device = next(model.parameters()).device
    for name in rotaries:
        exchanged["rotary"] += _exchange_rotary(sys.modules[name], dtype, device)
    return exchanged


def _is_norm(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return (type(module).__name__.endswith("RMSNorm") and isinstance(weight, Tensor) and weight.dim() == 1
            and isinstance(getattr(module, "variance_epsilon", None), float))


def _is_gated_mlp(module: nn.Module) -> bool:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return all(isinstance(part, nn.Linear) for part in parts) and type(
        getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")


def _exchange(module: nn.Module, forward: Callable[..., Tensor], width: int) -> bool:
    """Give a layer another forward, if it computes the same."""
    own = module.forward
    parameter = next(module.parameters())
    x = torch.randn(2, 3, width, dtype=parameter.dtype, device=parameter.device)
    with torch.no_grad():
        same = _close(forward(module, own, x), own(x))
    if same:
        module.forward = partial(forward, module, own)
    return same


def _close(ours: Tensor, theirs: Tensor) -> bool:
    difference = (ours.float() - theirs.float()).abs().max()
    return bool(ours.shape == theirs.shape and difference <= TOLERANCE[theirs.dtype] * theirs.float().abs().max())


def _norm(module: Any, own: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if x.dtype != module.weight.dtype:
        return own(x)
    return rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)


def _gated_mlp(module: Any, own: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    from training.models.gpu_kernels import SiluProduct

    gate, up = module.gate_proj(x), module.up_proj(x)
    product: Tensor = SiluProduct.apply(gate, up)
    output: Tensor = module.down_proj(product)
    return output


def _exchange_rotary(family: Any, dtype: torch.dtype, device: torch.device) -> bool:
    """Exchange the function in a family's module, for all models of the family; its own stays for what it is not."""
    own = getattr(family, ROTARY)
    if isinstance(own, partial):
        return True  # by an earlier model
    q, k = (torch.randn(2, 3, heads, 16, dtype=dtype, device=device).transpose(1, 2) for heads in (4, 2))
    angles = torch.randn(2, 3, 8, device=device).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    try:
        pairs = zip(_rotary(own, q, k, cos, sin), own(q, k, cos, sin), strict=True)
    except TypeError:
        return False  # another signature
    same = all(_close(ours, theirs) for ours, theirs in pairs)
    if same:
        setattr(family, ROTARY, partial(_rotary, own))
    return same


def _rotary(own: Callable[..., tuple[Tensor, Tensor]], q: Tensor, k: Tensor, cos: Tensor, sin: Tensor,
            unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    fits = (runs_on(q) and q.dtype == k.dtype == cos.dtype == sin.dtype and q.shape[-1] == k.shape[-1] == cos.shape[-1]
            and unsqueeze_dim == 1 and cos.dim() == 3 and q.stride(-1) == k.stride(-1) == 1
            and cos.shape == sin.shape and cos.stride() == sin.stride() and cos.stride(-1) == 1)
    if not fits:
        return own(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
    from training.models.gpu_kernels import Rotary

    if len(cos) != len(q):
        cos, sin = cos.expand(len(q), -1, -1), sin.expand(len(q), -1, -1)
    turned: tuple[Tensor, Tensor] = Rotary.apply(q, k, cos, sin)
    return turned
