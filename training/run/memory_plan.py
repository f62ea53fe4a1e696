"""How much memory each stage of a run will need, from its recipe and the sizes of its models alone. Torch-free.

A stage's peak is its weights and optimizer plus the largest of its passes: decoding (weights with the adapter merged,
the key-value cache, one step's logits), reading without gradients, or learning (what layers keep of each token for the
backward pass, and the logits of responses). The formulas are the engine's own (`training.ppo.micro_batch` and
`training.models.memory` cut passes by them, without gradient checkpointing and a separate critic, which only the plan
counts); `benchmarks/memory.py` measures how far they are off.

What is not known beforehand is how long prompts are: `low`, `expected` and `high` are for prompts of
PROMPT_TOKENS. Left out: several devices, and TRL's GRPO and RLOO, which need about what PPO does.
"""

from __future__ import annotations

from typing import NamedTuple

from training.config import Recipe
from training.run.baselines import modelled, reward_principles
from training.run.device import Device
from training.run.model_names import ModelHome, model_home
from training.run.model_size import ModelSize, size_of

PROMPT_TOKENS = (32, 128, 768)
"""Prompt tokens of a low, an expected and a high estimate."""

PROCESS = 0.75e9
"""What a process on a CPU takes that has imported torch, transformers and peft and read its data."""

WORKSPACES = 0.1e9
"""What a process holds of a GPU beside its tensors: matrix products are given room by stream."""

LEAST_TOKENS, MOST_TOKENS = 512, 16_384
"""Bounds of the tokens in one pass over a preference model: more is no faster, fewer are a few sentences."""

SHARE_OF_GPU, SHARE_OF_HOST = 0.5, 0.25
"""Of the memory, for one pass: a GPU belongs to one stage, a host also runs the web, workers and other stages."""

SMALL = 50_000_000
"""Preference models with so many adapted parameters are scored by merged copies of their trunk, larger ones by adapters
stacked on one."""

SUMMED = 20_000_000
"""Up to so many adapted weights, a preference model in training keeps their sum with its adapter: one product where
there would be three. Of wider matrices the other two are a small share, and the copy is not."""

SCORED_TOKENS = 16_384  # of a pass over preference models without gradients
ANSWERED_AT_ONCE = 64  # by the evaluation
JUDGED_AT_ONCE = 16  # pairs, by a local judge
GUESS = 1.5  # a shape that was guessed from a name may be off by this factor


class Memory(NamedTuple):
    """Bytes: for short prompts, prompts as they mostly are, and long ones."""

    low: int
    expected: int
    high: int


class StageMemory(NamedTuple):
    """The memory of one kind of stage; `base` is the model that most of it is for."""

    kind: str
    base: str
    memory: Memory
    is_guess: bool

    def verdict(self, device: Device) -> str:
        """Whether it fits a device: "" where it does, else what to expect."""
        if self.memory.low > device.total:
            return "does not fit"
        if self.memory.expected > device.total:
            return "fits with short prompts only"
        return "may not fit with long prompts" if self.memory.high > device.total else ""


class RunMemory(NamedTuple):
    """The memory of a run's stages that load models, and the bases whose size nothing is known of."""

    stages: list[StageMemory]
    unknown: list[str]

    @property
    def largest(self) -> StageMemory | None:
        return max(self.stages, key=lambda stage: stage.memory.expected, default=None)


def run_memory(recipe: Recipe, device: Device, home: ModelHome | None = None,
               prompt_tokens: tuple[int, int, int] = PROMPT_TOKENS) -> RunMemory:
    """What every kind of stage of a run will need on a device, in the order of the pipeline.

    Args:
        prompt_tokens: tokens of short, usual and long prompts, where more is known than nothing.

    Raises:
        ModelUnavailable: a base's name means no model.
    """
    home = home or model_home()
    bases = {"sft": recipe.policy.base, "sample": recipe.policy.base, "preference_model": recipe.preference_model.base,
             "ppo": recipe.policy.base, "evaluate": recipe.policy.base}
    if recipe.judge.kind == "local":
        bases["label"] = recipe.judge.model
    if not modelled(recipe):  # every reward is measured
        del bases["preference_model"]
    sizes = {base: size_of(base, home) for base in bases.values()}
    kinds = [kind for kind in ("sft", "sample", "label", "preference_model", "ppo", "evaluate") if kind in bases]
    if not recipe.sft.enabled:
        kinds.remove("sft")
    if recipe.sample.pairs == "dataset":
        kinds.remove("sample")
    stages = []
    for kind in kinds:
        size, reward = sizes[bases[kind]], sizes[bases.get("preference_model", recipe.policy.base)]
        if size is None or (kind == "ppo" and reward is None):
            continue
        is_guess = size.is_guess or (kind == "ppo" and reward is not None and reward.is_guess)
        low, expected, high = (_Pass(recipe, device, prompt).peak(kind, size, reward) for prompt in prompt_tokens)
        if is_guess:
            low, high = round(low / GUESS), round(high * GUESS)
        stages.append(StageMemory(kind, bases[kind], Memory(low, expected, high), is_guess))
    return RunMemory(stages, sorted(base for base, size in sizes.items() if size is None))


def activation_bytes(size: ModelSize, item: int, fused: bool = False, dropout: bool = False,
                     kernels: bool = False) -> float:
    """What a forward pass keeps of one token for the backward pass, in all layers of a decoder with an adapter.

    A layer keeps some 12 vectors of the hidden size (norms also in fp32, queries to outputs) and 5 of the intermediate
    size; adapters as peft computes them keep as much again. Measured for SmolLM2-135M in fp32 on a CPU: 3.3 MB,
    estimated 3.5 MB.

    Args:
        fused: the adapter is computed by `training.models.fused_lora`, which keeps no second input.
        dropout: and with dropout, whose masks have a byte for each input of a linear map.
        kernels: norms, rotary positions and activations are those of `training.models.fast_layers`, as on a GPU: 8 and
            3 vectors are left. For a policy of 0.5 billion parameters in bf16 on an H200 the peak of learning less its
            logits was 1.06 MB a token, estimated 1.04 MB.
    """
    masks = size.layers * (6 * size.hidden + size.intermediate) if fused and dropout else 0
    vectors = 8 * size.hidden + 3 * size.intermediate if kernels else 12 * size.hidden + 5 * size.intermediate
    return (1.0 if fused else 2.0) * size.layers * vectors * item + masks


def logit_bytes(size: ModelSize, item: int, kernels: bool = False) -> int:
    """What learning keeps of one response token's logits: they are overwritten in place, beside their gradient; in
    bf16 there is an fp32 copy of both. The kernel of a GPU overwrites them with their gradient."""
    return size.vocabulary * (item if kernels else 2 * item + (2 * 4 if item < 4 else 0))


def tokens_at_once(activation: float, device: Device) -> int:
    """Tokens of one forward and backward pass that the memory should hold: a power of two within the bounds."""
    share = SHARE_OF_GPU if device.is_gpu else SHARE_OF_HOST
    fitting = max(1, int(device.total * share / activation))
    return min(MOST_TOKENS, max(LEAST_TOKENS, 1 << (fitting.bit_length() - 1)))


def rows_that_fit(device: Device, weights: int, row: float) -> int:
    """Rows whose forward and backward pass a GPU should hold beside the weights; 0 on a CPU."""
    return max(0, int((device.total * SHARE_OF_GPU - weights) // row)) if device.is_gpu else 0


class _Pass:
    """Peaks of a recipe's stages for prompts of one length."""

    def __init__(self, recipe: Recipe, device: Device, prompt: int) -> None:
        self.recipe, self.device, self.prompt = recipe, device, prompt
        self.item = 2 if recipe.precision == "bf16" else 4
        self.process = int(WORKSPACES if device.is_gpu else PROCESS)

    def peak(self, kind: str, size: ModelSize, reward: ModelSize | None) -> int:
        match kind:
            case "sft":
                needed = self.sft(size)
            case "sample":
                settings = self.recipe.sample
                needed = size.parameters * self.item + self.decoding(size, settings.batch_size, settings.max_new_tokens)
            case "label":
                needed = self.label(size)
            case "preference_model":
                needed = self.preference_model(size)
            case "ppo":
                assert reward is not None
                needed = self.ppo(size, reward)
            case _:
                needed = self.evaluate(size) + (self.asked_in_evaluation(reward) if reward is not None else 0)
        return self.process + round(needed)

    def decoding(self, size: ModelSize, rows: int, response: int) -> float:
        """The key-value cache at its full length, one step's logits, and what the prefill of the prompts computes."""
        cache = rows * (self.prompt + response) * size.layers * 2 * size.cache_width * self.item
        logits = rows * size.vocabulary * (self.item + 4 * 4)
        return cache + max(logits, rows * self.prompt * self.passing(size))

    def passing(self, size: ModelSize) -> float:
        """What a pass without gradients holds of one token at a time: the states around one layer."""
        return (4 * size.hidden + 3 * size.intermediate) * self.item

    def ppo(self, size: ModelSize, reward: ModelSize) -> float:
        settings, lora = self.recipe.ppo, self.recipe.policy.lora
        if lora is None:
            weights, merged = fully_trained_bytes(size.parameters, self.item), 0
        else:
            weights = size.parameters * self.item + trained_bytes(adapter_parameters(size, lora.r * self.corners()))
            merged = linear_parameters(size) * self.item
        if settings.critic == "separate":
            weights += trained_bytes(trunk_parameters(size))
        rewards = self.scorers(reward)
        decoding = merged + self.decoding(size, settings.batch_size, settings.max_new_tokens)
        row = ((self.prompt + settings.max_new_tokens) * self.token_activations(size)
               + settings.max_new_tokens * logit_bytes(size, self.item, kernels=self.device.is_gpu))
        rows = max(settings.micro_batch, rows_that_fit(self.device, weights, row))
        rows = min(rows, -(-settings.batch_size // settings.minibatches))
        learning = rows * row
        captures = self.device.is_gpu and self.item == 2 and lora is not None and not settings.conditioned
        if captures and not settings.gradient_checkpointing:
            return weights + rewards + decoding + learning  # `training.ppo.gradient_pass` keeps its memory
        return weights + rewards + max(decoding, learning, self.conflict(size))

    def corners(self) -> int:
        """How many adapters a policy has: one for each principle with a weight where it is conditioned."""
        return sum(choice.weight != 0 for choice in self.recipe.rewarded) if self.recipe.ppo.conditioned else 1

    def conflict(self, size: ModelSize) -> float:
        """A gradient per principle, where their conflict is measured; of an adapter they are small."""
        if not self.recipe.ppo.conflict_every or self.recipe.policy.lora:
            return 0
        return (len(reward_principles(self.recipe)) + 2) * 4 * size.parameters

    def token_activations(self, size: ModelSize) -> float:
        """`activation_bytes`, or with gradient checkpointing the inputs of layers and one layer's activations."""
        activations = activation_bytes(size, self.item, fused=True, kernels=self.device.is_gpu)
        if self.recipe.ppo.gradient_checkpointing:
            return activations / size.layers + size.layers * size.hidden * self.item
        return activations

    def scorers(self, size: ModelSize) -> float:
        """The preference models of all principles: one trunk, and copies of it where copies are small."""
        principles = len(modelled(self.recipe))
        if not principles:
            return 0
        trunk = trunk_parameters(size) * self.item
        settings = self.recipe.preference_model
        if settings.architecture == "full":
            return trunk * principles
        if settings.architecture == "shared_trunk" or principles == 1:
            return trunk
        share = min(1.0, settings.lora_layers / size.layers) if settings.lora_layers else 1.0
        if linear_parameters(size) * share <= SMALL:
            return trunk * (principles + 1)
        return trunk + principles * 4 * adapter_parameters(size, settings.lora.r)

    def asked_in_evaluation(self, size: ModelSize) -> float:
        """The preference models that an evaluation loads: where a principle is measured, and for best of n."""
        is_asked = self.recipe.evaluate.best_of or any(choice.measure for choice in self.recipe.principles)
        return self.scorers(size) if is_asked else 0

    def preference_model(self, size: ModelSize) -> float:
        settings = self.recipe.preference_model
        fused, dropout = settings.architecture != "full", settings.lora.dropout > 0
        if not fused:
            weights = trained_bytes(trunk_parameters(size))
        else:
            weights = trunk_parameters(size) * self.item + trained_bytes(adapter_parameters(size, settings.lora.r))
            if self.item == 4 and not dropout and linear_parameters(size) <= SUMMED:  # their sum, beside the base
                weights += linear_parameters(size) * self.item
        activation = activation_bytes(size, self.item, fused, dropout, kernels=self.device.is_gpu)
        response = self.response_of_pairs
        # A prompt is read once for both responses; where it is cut, each has its own part of it.
        is_cut = self.prompt + response > settings.max_length
        row = 2 * settings.max_length if is_cut else self.prompt + 2 * response
        at_once = tokens_at_once(activation, self.device)
        pairs = min(settings.batch_size, max(1, at_once // row))
        return weights + max(pairs * row * activation, SCORED_TOKENS * self.passing(size))

    @property
    def response_of_pairs(self) -> int:
        """Tokens of a pair's responses: as sampled, or in a dataset about as long as its prompts."""
        return self.recipe.sample.max_new_tokens if self.recipe.sample.pairs == "sampled" else self.prompt

    def sft(self, size: ModelSize) -> float:
        settings = self.recipe.sft
        row = min(settings.max_length, 2 * self.prompt)
        lora = self.recipe.policy.lora
        if lora is None:  # fp32 weights, and copies of them that autocast keeps for a pass in bf16
            weights = trained_bytes(size.parameters) + (size.parameters * self.item if self.item < 4 else 0)
        else:
            weights = size.parameters * self.item + trained_bytes(adapter_parameters(size, lora.r))
        token = sft_token_bytes(size, self.item if lora else 4)
        rows = rows_of_an_sft_pass(settings.batch_size, row, token, self.device)
        return weights + rows * row * token

    def label(self, size: ModelSize) -> float:
        """A local judge: both orders of some pairs, each a question of prompt, two responses and instructions."""
        rows = JUDGED_AT_ONCE * (2 if self.recipe.judge.both_orders else 1)
        question = self.prompt + 2 * self.response_of_pairs + 150
        cache = rows * question * size.layers * 2 * size.cache_width * self.item
        return size.parameters * self.item + cache + max(
            rows * size.vocabulary * (self.item + 2 * 4), rows * question * self.passing(size))

    def evaluate(self, size: ModelSize) -> float:
        settings, lora = self.recipe.evaluate, self.recipe.policy.lora
        rows = min(ANSWERED_AT_ONCE, settings.prompts)
        decoding = self.decoding(size, rows, settings.max_new_tokens)
        if lora is None:  # the tuned model and its base
            return 2 * size.parameters * self.item + decoding
        weights = size.parameters * self.item + 4 * adapter_parameters(size, lora.r)
        return weights + linear_parameters(size) * self.item + decoding


def sft_token_bytes(size: ModelSize, item: int) -> float:
    """What TRL's trainer keeps of a token: its activations, and its logits with fp32 copies for loss and entropy."""
    return activation_bytes(size, item) + size.vocabulary * (2 * item + 3 * 4)


def rows_of_an_sft_pass(batch: int, tokens: int, token: float, device: Device) -> int:
    """Rows of a batch that go through at once: the largest divisor of the batch whose tokens the memory should hold.

    >>> rows_of_an_sft_pass(16, 100, 1e6, Device(10**9, True))
    4
    """
    fitting = device.total * (SHARE_OF_GPU if device.is_gpu else SHARE_OF_HOST) / (tokens * token)
    return next(rows for rows in range(batch, 0, -1) if batch % rows == 0 and (rows <= fitting or rows == 1))


def linear_parameters(size: ModelSize) -> int:
    """Those of the layers, which adapters are put on and merging copies."""
    return max(0, size.parameters - (2 if is_untied(size) else 1) * size.embedding)


def trunk_parameters(size: ModelSize) -> int:
    """Those of a model without its language head."""
    return size.parameters - (size.embedding if is_untied(size) else 0)


def is_untied(size: ModelSize) -> bool:
    """Whether the head has weights of its own: what the layers' widths do not explain is a second embedding."""
    attention = 2 * size.hidden * size.hidden + 2 * size.hidden * size.cache_width
    layers = size.layers * (attention + 3 * size.hidden * size.intermediate)
    return size.parameters - layers > 1.5 * size.embedding


def adapter_parameters(size: ModelSize, rank: int) -> int:
    """Those of LoRA on every linear map of a decoder with a gated MLP."""
    hidden, intermediate = size.hidden, size.intermediate
    return rank * size.layers * (2 * 2 * hidden + 2 * (hidden + size.cache_width) + 3 * (hidden + intermediate))


def trained_bytes(parameters: int) -> int:
    """Weights in fp32 with their gradients and AdamW's two moments."""
    return parameters * 4 * 4


def fully_trained_bytes(parameters: int, item: int) -> int:
    """A policy of which every weight is trained: its reference, fp32 weights as `trained_bytes`, and in bf16 those
    that it computes with (`training.models.full_weights`)."""
    computing = parameters * item if item < 4 else 0
    return parameters * item + computing + trained_bytes(parameters)
