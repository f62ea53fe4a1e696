"""Compiles every kernel for an H100 on a machine without a GPU, and prints their names: a program of its own, because
the tests themselves run kernels by the interpreter."""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from training.models import gpu_kernels as kernels

H100 = GPUTarget("cuda", 90, 32)
BF16, FP32, INT64 = "*bf16", "*fp32", "*i64"
FLOATS = ("logprobs", "entropies", "log_totals", "gradients")
"""Of the statistics of tokens, in fp32; other tensors are bf16, other arguments whole numbers."""

ROW = {"columns": 151_936, "BLOCK": kernels.VOCABULARY_BLOCK}
HEADS = {"q_heads": 14, "k_heads": 2, "half": 32, "HALF": 32}
CONSTANTS: list[tuple[Any, dict[str, Any]]] = [
    (kernels._row_statistics, ROW),
    (kernels._row_gradient, ROW),
    *((kernels._rotate, HEADS | {"HEADS": heads, "BACKWARD": backward})
      for heads in (1, 16) for backward in (False, True)),
    (kernels._silu_product, {"BLOCK": kernels.ELEMENTS}),
    (kernels._silu_product_gradients, {"BLOCK": kernels.ELEMENTS}),
]
TENSORS = {"logits", "q", "k", "cos", "sin", "q_out", "k_out", "gate", "up", "out", "gradient", "gate_out", "up_out"}


def type_of(name: str) -> str:
    if name == "scale":
        return "fp32"
    if name == "tokens_of_rows":
        return INT64
    return BF16 if name in TENSORS else FP32 if name in FLOATS else "i32"


for kernel, constants in CONSTANTS:
    signature = {name: "constexpr" if name in constants else type_of(name) for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=places), target=H100)
    assert compiled.asm["cubin"]
    print(kernel.__name__)
