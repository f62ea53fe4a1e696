"""Tiny random models of many families: what each gets wrong where a decoder is written for Llama alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests.training.tiny_models import make_tokenizer

TOKENIZER = make_tokenizer()
ROWS = len(TOKENIZER)
ENDS: dict[str, Any] = {"pad_token_id": TOKENIZER.pad_token_id, "bos_token_id": TOKENIZER.bos_token_id,
                        "eos_token_id": TOKENIZER.eos_token_id}
SHAPE: dict[str, Any] = {"vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "intermediate_size": 48, "max_position_embeddings": 128, "initializer_range": 0.3, **ENDS}
GROUPED = SHAPE | {"num_key_value_heads": 1}
HEADS = GROUPED | {"head_dim": 16}


def mistral() -> Any:
    return t.MistralForCausalLM(t.MistralConfig(**GROUPED, sliding_window=6))


def gemma2() -> Any:
    return t.Gemma2ForCausalLM(t.Gemma2Config(**HEADS, sliding_window=6))


def gemma3(**shape: Any) -> Any:
    return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**HEADS | shape, sliding_window=6))


def gemma4() -> Any:
    """The layers get inputs of their own beside the hidden states, and the last two read keys of those below."""
    shape = HEADS | {"num_hidden_layers": 4, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": ROWS}
    return t.Gemma4ForCausalLM(t.Gemma4TextConfig(
        **shape, sliding_window=6, layer_types=["sliding_attention", "full_attention"] * 2, global_head_dim=16,
        num_global_key_value_heads=1, num_kv_shared_layers=2))


def gemma3_with_pictures() -> Any:
    """A config in parts; its tower for pictures has as many layers as its text model."""
    config = t.Gemma3Config(
        text_config=HEADS | {"sliding_window": 6}, mm_tokens_per_image=4, image_token_index=3, vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14})  # fmt: skip
    return t.Gemma3ForConditionalGeneration(config)


def llama4_with_pictures() -> Any:
    """A family in parts that knows no model without a language head."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14, "vision_output_dim": 16, "projector_input_dim": 16,
              "projector_output_dim": 16}  # fmt: skip
    text = HEADS | {"intermediate_size_mlp": 32, "num_local_experts": 2, "attention_chunk_size": 6}
    return t.Llama4ForConditionalGeneration(t.Llama4Config(text_config=text, vision_config=vision))


def qwen3_5_with_pictures() -> Any:
    """A hybrid in parts, as the models of the hub are."""
    text = HEADS | {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
                    "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "depth": 2, "out_hidden_size": 32,
              "patch_size": 14, "num_position_embeddings": 16}  # fmt: skip
    return t.Qwen3_5ForConditionalGeneration(t.Qwen3_5Config(text_config=text, vision_config=vision))


def gpt2() -> Any:
    """Its config calls its positions n_positions, and has few."""
    return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=ROWS, n_embd=32, n_layer=2, n_head=2, n_positions=48,
                                          initializer_range=0.3, **ENDS))


def mpt() -> Any:
    """Its forward takes no positions, and its config calls them max_seq_len."""
    return t.MptForCausalLM(t.MptConfig(vocab_size=ROWS, d_model=32, n_layers=2, n_heads=2, max_seq_len=48))


def opt() -> Any:
    """As OPT-350m: the hidden states that leave it are half as wide as those inside."""
    shape = {key: value for key, value in SHAPE.items() if key not in ("intermediate_size", "initializer_range")}
    return t.OPTForCausalLM(t.OPTConfig(**shape, ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False,
                                        init_std=0.3))


def mamba() -> Any:
    shape = {"vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3, **ENDS}
    return t.MambaForCausalLM(t.MambaConfig(**shape, state_size=4))


def mamba2() -> Any:
    shape = {"vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3, **ENDS}
    return t.Mamba2ForCausalLM(t.Mamba2Config(**shape, state_size=4, num_heads=8, head_dim=8, n_groups=1,
                                              chunk_size=16))


def falcon_mamba() -> Any:
    shape = {"vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3, **ENDS}
    return t.FalconMambaForCausalLM(t.FalconMambaConfig(**shape, state_size=4))


def qwen3_5() -> Any:
    from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig

    return t.Qwen3_5ForCausalLM(Qwen3_5TextConfig(
        **HEADS, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"], tie_word_embeddings=True))


def lfm2() -> Any:
    return t.Lfm2ForCausalLM(t.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]))


def granite_hybrid() -> Any:
    return t.GraniteMoeHybridForCausalLM(t.GraniteMoeHybridConfig(
        **GROUPED, shared_intermediate_size=48, layer_types=["mamba", "attention"], mamba_n_heads=8, mamba_d_head=8,
        mamba_d_state=4, mamba_chunk_size=16, num_local_experts=0, num_experts_per_tok=0))


def jamba() -> Any:
    return t.JambaForCausalLM(t.JambaConfig(
        **GROUPED, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=2, num_experts_per_tok=1, mamba_d_state=4, mamba_dt_rank=4, use_mamba_kernels=False))


def falcon_h1() -> Any:
    return t.FalconH1ForCausalLM(t.FalconH1Config(
        **GROUPED, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=4,
        mamba_chunk_size=16))


def recurrent_gemma() -> Any:
    shape = {key: value for key, value in GROUPED.items() if key not in ("max_position_embeddings",
                                                                         "initializer_range")}
    return t.RecurrentGemmaForCausalLM(t.RecurrentGemmaConfig(
        **shape | {"num_hidden_layers": 3}, lru_width=32, attention_window_size=16, w_init_variance_scale=1.0))


def roberta() -> Any:
    """Its positions begin behind the padding's own, and count what it is told."""
    return t.RobertaForCausalLM(t.RobertaConfig(**SHAPE, is_decoder=True))


def rwkv() -> Any:
    return t.RwkvForCausalLM(t.RwkvConfig(vocab_size=ROWS, hidden_size=32, num_hidden_layers=2, context_length=128,
                                          attention_hidden_size=32, intermediate_size=48, **ENDS))


FAMILIES: dict[str, Callable[[], Any]] = {make.__name__: make for make in (
    mistral, gemma2, gemma3, gemma3_with_pictures, gemma4, llama4_with_pictures, qwen3_5_with_pictures, gpt2, mpt, opt,
    mamba, mamba2, falcon_mamba, qwen3_5, lfm2, granite_hybrid, jamba, falcon_h1, recurrent_gemma, roberta, rwkv)}


def make_family(name: str, folder: Path, tokenizer: Any = None) -> Path:
    """Write a random model of a family with its tokenizer, as a folder of safetensors."""
    torch.manual_seed(1)
    model = FAMILIES[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # some families begin with maps near zero, and would be exact whatever was done
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (tokenizer or TOKENIZER).save_pretrained(folder)
    return folder
