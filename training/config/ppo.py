"""How the policy is optimised. Torch-free."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config.section import Section

MOST_KEPT = 100  # policies of earlier steps
RUNTIME_ONLY = frozenset({"keep_rollouts"})
"""Settings that change nothing of what is trained."""

Algorithm = Literal["ppo", "grpo", "rloo"]

ONLY_PPO = ("critic", "learning_rate_schedule", "target_kl_stop", "whiten_rewards", "gradient_checkpointing",
            "conflict_every", "conditioned", "concentration", "keep_every")
"""Settings that grpo and rloo do not have: setting one is refused, not ignored."""


class Kl(Section):
    coefficient: float = Field(0.05, ge=0, le=10, description="KL penalty per token at the start.")
    adaptive: bool = Field(True, description="Adapt the coefficient towards the target.")
    target: float = Field(6.0, gt=0, le=1000, description="Target KL to the reference, in nats per response.")
    horizon: int = Field(10_000, ge=1, le=10**9, description="Samples over which the coefficient adapts.")


class Ppo(Section):
    algorithm: Algorithm = Field("ppo", description=(
        "ppo: a critic, and a KL penalty on each token. grpo, rloo: no critic; an answer is measured against the "
        "others to its prompt."))
    group_size: int = Field(8, ge=2, le=1024, description=(
        "grpo and rloo: answers to each prompt; the batch size is a multiple of it."))
    group_normalise: Literal["reward", "each"] = Field("reward", description=(
        "grpo: what is normalised in a prompt's group: the reward, or each principle before their weighted sum (GDPO), "
        "so that none decides because its scores vary more."))
    steps: int = Field(200, ge=1, le=1_000_000, description="Rollout phases.")
    batch_size: int = Field(128, ge=2, le=65_536, description="Rollouts per phase.")
    epochs: int = Field(4, ge=1, le=64, description="Passes over each phase's rollouts.")
    minibatches: int = Field(1, ge=1, le=1024, description="Optimizer steps per epoch.")
    learning_rate: float = Field(4e-6, gt=0, le=1, description="AdamW's learning rate.")
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = Field("constant", description=(
        "After the warm-up the learning rate stays, or falls to zero by the last phase (PPO only)."))
    warmup_steps: int = Field(10, ge=0, le=100_000, description="Phases of linear warm-up.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount per token.")
    lam: float = Field(0.95, ge=0, le=1, description="Lambda of generalised advantage estimation.")
    clip: float = Field(0.2, gt=0, le=10, description="Clip range of the policy's ratio.")
    value_clip: float = Field(0.2, gt=0, le=100, description="Clip range of the value function.")
    value_coefficient: float = Field(1.0, ge=0, le=100, description="Weight of the value loss.")
    critic: Literal["shared", "separate"] = Field("shared", description=(
        "shared: a head on the policy's own trunk. separate: a full model of its own, trained in fp32; more memory "
        "and twice the time."))
    whiten_rewards: bool = Field(False, description=(
        "Scale the rewards of tokens to deviation 1 in each phase; advantages are whitened in any case."))
    target_kl_stop: float = Field(0.0, ge=0, le=100, description=(
        "End a phase's epochs once the policy has moved this far since its rollouts, in nats per token; 0: never."))
    reward_clip: float = Field(10.0, gt=0, le=1000, description="Rewards are clipped to plus and minus this.")
    no_eos_penalty: float = Field(1.0, ge=0, le=100, description=(
        "Subtracted from the reward of a response that does not end."))
    max_grad_norm: float = Field(1.0, gt=0, le=1000, description="Longer gradients are scaled down to this norm.")
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature of the rollouts.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="At most this many tokens per response.")
    micro_batch: int = Field(16, ge=1, le=65_536, description=(
        "Rows in one forward and backward pass; gradients of a minibatch are accumulated exactly, so it changes the "
        "memory and not the result. PPO on a GPU takes more where its memory holds them, half as many after an OOM."))
    gradient_checkpointing: bool = Field(False, description=(
        "Compute activations inside layers again in the backward pass: less memory, a third more work."))
    kl: Kl = Kl()
    checkpoint_every: int = Field(20, ge=1, le=100_000, description="Phases between checkpoints.")
    sample_every: int = Field(10, ge=1, le=100_000, description="Phases between sample responses.")
    sample_prompts: int = Field(6, ge=0, le=64, description="Fixed prompts followed through training.")
    judge_samples: bool = Field(False, description=(
        "The judge compares each report of samples with the first: warns when the reward rises and quality falls."))
    conflict_every: int = Field(0, ge=0, le=100_000, description=(
        "Phases between measurements of the conflict between the principles' gradients; 0: never."))
    conditioned: bool = Field(False, description=(
        "One policy for every trade-off: an adapter per principle, and the principles' shares drawn anew in each "
        "phase. A slider then moves between them (PPO with a shared critic only)."))
    concentration: float = Field(1.0, gt=0, le=100, description=(
        "How the shares of a conditioned policy are drawn: 1 evenly, less nearer to single principles, more nearer to "
        "equal shares."))

    keep_every: int = Field(0, ge=0, le=1_000_000, description=(
        "Phases between policies that are kept, to chat with and to download beside the last one (PPO only); 0: none."))
    keep_rollouts: int = Field(20_000, ge=0, le=1_000_000, description=(
        "At most this many responses of training are kept with their scores, evenly over the phases, to look through "
        "them; 20,000 take some megabytes; 0: none."))

    @property
    def kept_steps(self) -> range:
        """The steps whose policy is kept; that of the last step is the run's result."""
        return kept_steps(self.keep_every, self.steps)

    @model_validator(mode="after")
    def _not_too_many_are_kept(self) -> Self:
        if len(self.kept_steps) > MOST_KEPT:
            raise ValueError(f"keep_every {self.keep_every} would keep {len(self.kept_steps)} policies, and at most "
                             f"{MOST_KEPT} are kept; choose {-(-self.steps // (MOST_KEPT + 1))} or more")
        return self

    @model_validator(mode="after")
    def _only_grpo_normalises_each(self) -> Self:
        if self.group_normalise == "each" and self.algorithm != "grpo":
            raise ValueError(f"{self.algorithm} has no 'group_normalise'; leave it at reward, or choose the algorithm "
                             "grpo")
        return self

    @model_validator(mode="after")
    def _a_conditioned_policy_has_a_head_of_its_own(self) -> Self:
        if self.conditioned and self.algorithm == "ppo" and self.critic == "separate":
            raise ValueError("'conditioned' is on and 'critic' is separate; a conditioned policy has a value per "
                             "principle on its own trunk: choose shared")
        return self

    @model_validator(mode="after")
    def _groups_fill_the_batch(self) -> Self:
        if self.algorithm == "ppo":
            return self
        for name in ONLY_PPO:
            if getattr(self, name) != (default := type(self).model_fields[name].default):
                raise ValueError(f"{self.algorithm} has no '{name}'; leave it at {default}, or choose the algorithm "
                                 "ppo")
        if self.batch_size % self.group_size:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of group_size {self.group_size}; "
                             f"choose {max(1, self.batch_size // self.group_size) * self.group_size}")
        if self.batch_size % self.minibatches:
            raise ValueError(f"batch_size {self.batch_size} cannot be divided into {self.minibatches} equal "
                             f"minibatches, which {self.algorithm} needs; choose minibatches that divide it")
        return self


def kept_steps(keep_every: int, steps: int) -> range:
    """The steps before the last whose policy is kept."""
    return range(keep_every, steps, keep_every) if keep_every else range(0)
