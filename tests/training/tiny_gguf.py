"""A Llama of two layers, packed as llama.cpp packs one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = ["<unk>", "<s>", "</s>", "a", "b", "c", "Ġ", "Ġa", "Ġb", "ab", "Ċ", "u", "s", "e", "r"]
MERGES = ["Ġ a", "Ġ b", "a b"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
WIDTH, HEADS, LAYERS = 32, 2, 2


def tiny_llama(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(WORDS), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=64, bos_token_id=1,
        eos_token_id=2, tie_word_embeddings=True)).to(torch.bfloat16)


def write_gguf(model: Any, path: Path) -> Path:
    """Write the model and a byte-pair tokenizer of WORDS. Queries and keys are packed in llama.cpp's order of rows."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(WORDS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    for layer in range(LAYERS):
        for ours, theirs in names.items():
            tensor = weights[f"model.layers.{layer}.{ours}.weight"]
            if theirs in {"attn_q", "attn_k"}:
                halves = tensor.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH)
                tensor = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(WIDTH, WIDTH)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
