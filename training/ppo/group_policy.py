"""GRPO and RLOO: the same stage as PPO, with no critic. An answer is measured against the others to the same prompt.

Group relative policy optimisation is arXiv 2402.03300, REINFORCE leave-one-out arXiv 2402.14740. TRL's trainers do the
work (`trl.GRPOTrainer`, `trl.RLOOTrainer`) with its defaults for what our settings do not name; preference models,
scalarization, reward clip and the penalty for an answer without an end are those of PPO, in one reward function. The
settings mean what they mean in PPO: a phase answers `batch_size / group_size` prompts `group_size` times each, then
makes epochs x minibatches optimizer steps; a step here is a phase.

What differs: the KL coefficient is fixed (GRPO puts the KL into the loss, RLOO into the reward); the KL and the entropy
reported are TRL's, over all passes of the phase. Left out: an adaptive KL, a value function, merged decoding, and the
end at a stop string (what follows one is not scored, but it is trained on).

With `group_normalise: each` GRPO is GDPO (`training.reward.group_normalisation`). The penalty for an answer without an
end is no principle: it is subtracted from the sum, so that a group in which one answer lacks its end does not count it
as a whole deviation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.config import Policy, Ppo
from training.dialogue import Dialogue, cut_at_stop, generation_prompt
from training.errors import BadData, Diverged, StopRequested
from training.models import language_model
from training.models.encoding import rendered
from training.models.exactness import check_decoding
from training.models.language_model import LanguageModel
from training.models.lora_targets import lora_targets
from training.models.rollouts import Sampling
from training.models.trainer_checkpoints import WholeCheckpoints, newest_whole, remembered, step_of, writing_folder
from training.ppo.rollout_log import RolloutLog, rollout_log
from training.ppo.samples import report_samples
from training.reward.loading import load_gauges, load_rewards, phase_metrics
from training.reward.measured import Gauges
from training.reward.rewards import PrincipleRewards, Rewards
from training.run.artifacts import Job, read_json, write_json
from training.run.reporting import Reporter

MULTIPLIERS = "multipliers.json"

LEAST_KL = 1e-9
"""With a coefficient of 0 TRL would not measure the KL; this one is too small to have an effect."""


def train(job: Job, folder: Path, reporter: Reporter, prompts: Sequence[Dialogue]) -> None:
    """Train the policy; write adapter/ and summary.json, as PPO does.

    Raises:
        BadData: there are fewer prompts than one phase answers.
        Diverged: the loss is NaN or infinite.
        ModelUnavailable, OutOfMemory: a base or a preference model cannot be loaded, or does not fit.
        StopRequested: after a checkpoint.
    """
    settings = Ppo.model_validate(job.settings["ppo"])
    policy = Policy.model_validate(job.settings["policy"])
    prompts_per_phase = settings.batch_size // settings.group_size
    if len(prompts) < prompts_per_phase:
        raise BadData(f"A phase answers {prompts_per_phase} prompts, there are {len(prompts)}.",
                      f"Lower 'ppo.batch_size' from {settings.batch_size} to {len(prompts) * settings.group_size}.")
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else policy.base
    device = language_model.pick_device(job.settings["device"])
    language = language_model.load(base, device, job.settings["precision"])
    check_decoding(language, "policy.base")
    rewards = GroupRewards(load_rewards(job, device, reporter), prompts, settings, language.end_ids,
                           load_gauges(job, reporter))
    log = rollout_log(job, folder, settings, rewards.principle_rewards.names)
    checkpoints = folder / "checkpoint"
    resumed = newest_whole(checkpoints)
    trainer = make_trainer(job, settings, policy, language, rewards, checkpoints)
    language = replace(language, adapter=trainer.model)
    trainer.model.peft_config["default"].base_model_name_or_path = language.name
    sampling = Sampling(settings.max_new_tokens, settings.temperature)
    followed = list(prompts[: settings.sample_prompts])
    show = partial(report_samples, language, prompts=followed, sampling=sampling, rewards_of=rewards.principle_rewards,
                   seed=job.settings["seed"], reporter=reporter)
    phases = Phases(reporter, settings, rewards, show, log)
    trainer.add_callback(phases)
    trainer.add_callback(WholeCheckpoints(checkpoints, phases.remember))
    done = step_of(resumed) // phases.steps_per_phase if resumed else 0
    reporter.rewind(done)
    log.rewind(done)
    phases.recall(resumed)
    if resumed is not None:
        skip_finished_orders(trainer, done, prompts_per_phase)
    if resumed is None:
        show(step=0)
    with language_model.translate_oom():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if phases.stopped:
        raise StopRequested
    log.flush()
    language_model.save_adapter(language, folder / "adapter")
    write_json(folder / "summary.json", {"steps": settings.steps, "weights": rewards.principle_rewards.weights_by_name,
                                         "scalarization": job.settings["scalarization"], "last": phases.last,
                                         "multipliers": rewards.principle_rewards.constraints.multipliers,
                                         "algorithm": settings.algorithm})
    reporter.artifact("adapter", "adapter")


class Answered(NamedTuple):
    """The responses of a phase: their prompts, texts, rewards, the reward with clip and penalty, tokens, ends."""

    prompts: list[Dialogue]
    texts: list[str]
    rewards: Rewards
    total: Tensor
    lengths: Tensor
    ended: Tensor


class GroupRewards:
    """The reward function that TRL calls once per phase, and what it saw."""

    def __init__(self, principle_rewards: PrincipleRewards, prompts: Sequence[Dialogue], settings: Ppo,
                 ends: Sequence[int], gauges: Gauges | None = None) -> None:
        self.principle_rewards = principle_rewards
        self._gauges = gauges or Gauges({})
        self.metrics: dict[str, float] = {}
        self.standardised = torch.empty(0, len(principle_rewards.names))
        self.answered: Answered | None = None
        self.prompts, self._settings, self._ends = prompts, settings, frozenset(ends)

    __name__ = "scalarized"

    def __call__(self, completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], row: Sequence[int],
                 **_: Any) -> list[float]:
        """One reward per response: scalarized, clipped, less the penalty for a missing end token.

        Args:
            completions: texts, or a message each where the prompts are messages.
            completion_ids: their tokens with the end token.
            row: which prompt each answers.
        """
        texts = [cut_at_stop(each if isinstance(each, str) else each[0]["content"]) for each in completions]
        prompts = [self.prompts[index] for index in row]
        rewards = self.principle_rewards(prompts, texts, self._settings.micro_batch)
        ended = torch.tensor([bool(ids) and ids[-1] in self._ends for ids in completion_ids])
        lengths = torch.tensor([float(len(ids)) for ids in completion_ids])
        clip = self._settings.reward_clip
        penalty = self._settings.no_eos_penalty * (~ended).float()
        total = rewards.total.clamp(-clip, clip) - penalty
        self.standardised = rewards.standardised
        self.answered = Answered(prompts, texts, rewards, total, lengths, ended)
        self.metrics = phase_metrics(self.principle_rewards.names, rewards, self._gauges, prompts, texts) | {
            "reward/optimised": float(total.mean()), "response/length": float(lengths.mean()),
            "response/eos_rate": float(ended.float().mean())}  # fmt: skip
        if self._settings.group_normalise == "each":
            total = self.principle_rewards.summed_in_groups(rewards.standardised, self._settings.group_size, clip)
            total = total - penalty
            groups = total.view(-1, self._settings.group_size)
            # TRL would say whether the whole batch is alike, by whose deviation it divides.
            self.metrics["group/all_alike"] = float((groups.amax(dim=1) == groups.amin(dim=1)).float().mean())
        return total.tolist()


def make_trainer(job: Job, settings: Ppo, policy: Policy, language: LanguageModel, rewards: GroupRewards,
                 checkpoints: Path) -> Any:
    """TRL's trainer with our settings; the adapter is new, and the reference is the model with the adapter off."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    trainers: dict[str, tuple[Any, Any]] = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}
    make_settings, make = trainers[settings.algorithm]
    steps_per_phase = settings.epochs * settings.minibatches
    minibatch = settings.batch_size // settings.minibatches
    rows = max(size for size in range(1, settings.micro_batch + 1) if minibatch % size == 0)
    arguments = make_settings(
        output_dir=str(writing_folder(checkpoints)), max_steps=settings.steps * steps_per_phase,
        num_generations=settings.group_size,
        per_device_train_batch_size=rows, gradient_accumulation_steps=minibatch // rows,
        generation_batch_size=settings.batch_size, num_iterations=settings.epochs,
        max_completion_length=settings.max_new_tokens, temperature=settings.temperature,
        beta=max(settings.kl.coefficient, LEAST_KL), epsilon=settings.clip, learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup", warmup_steps=settings.warmup_steps * steps_per_phase,
        adam_beta1=0.9, adam_beta2=0.95, weight_decay=0.0, max_grad_norm=settings.max_grad_norm,
        logging_steps=steps_per_phase, logging_nan_inf_filter=False,
        save_steps=settings.checkpoint_every * steps_per_phase,
        seed=job.settings["seed"], use_cpu=language.device.type == "cpu",
        bf16=False,  # the weights have the precision that the run asks for already
        gradient_checkpointing=False, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=language.device.type == "cuda",
        **({"scale_rewards": "batch"} if settings.group_normalise == "each" else {}),
    )  # fmt: skip
    chat = bool(language.tokenizer.chat_template)
    # TRL renders the messages by itself: it is given those that the template takes.
    data = [{"prompt": rendered(language.tokenizer, prompt).messages if chat else generation_prompt(prompt),
             "row": index}
            for index, prompt in enumerate(rewards.prompts)]
    assert policy.lora is not None, "the recipe refuses it"
    lora = LoraConfig(r=policy.lora.r, lora_alpha=policy.lora.alpha, lora_dropout=0.0,
                      target_modules=lora_targets(language.model), task_type="CAUSAL_LM")
    trainer = make(model=language.model, reward_funcs=rewards, args=arguments, train_dataset=Dataset.from_list(data),
                   processing_class=language.tokenizer, peft_config=lora)
    trainer.remove_callback(PrinterCallback)  # it would print every log
    return trainer


def skip_finished_orders(trainer: Any, phases: int, prompts_per_phase: int) -> None:
    """Let a resumed trainer continue in the order of prompts that it was in.

    Each pass over the prompts has its own order, drawn one after the other. A resumed trainer skips what was
    done of its pass, but would draw the order of the first pass for it.
    """
    make_sampler = trainer._get_train_sampler

    def make_advanced(dataset: Any = None) -> Any:
        sampler = make_sampler(dataset)
        for _ in range(phases // (sampler.num_samples // prompts_per_phase)):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    trainer._get_train_sampler = make_advanced


class Phases(TrainerCallback):
    """Reports each phase under PPO's metric names, and hands a stop to the trainer: save first, then stop.

    Args:
        show: reports the answers to the followed prompts at a step.
        log: keeps the responses of the phases; those since the last checkpoint are written with the next one.
    """

    def __init__(self, reporter: Reporter, settings: Ppo, rewards: GroupRewards, show: Any, log: RolloutLog) -> None:
        self._reporter, self._settings, self._rewards, self._show = reporter, settings, rewards, show
        self._log = log
        self._began = time.monotonic()
        self.steps_per_phase = settings.epochs * settings.minibatches
        self.last: dict[str, float] = {}
        self.stopped = False

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float],
        **_: Any,
    ) -> None:  # fmt: skip
        if "loss" not in logs:  # the summary at the end
            return
        phase = state.global_step // self.steps_per_phase
        if logs["loss"] != logs["loss"]:
            raise Diverged(f"The loss of step {phase} is NaN or infinite.",
                           "Start again with a lower learning rate or a higher KL coefficient.")
        metrics = self._rewards.metrics
        kl = logs["kl"] * metrics["response/length"]
        now = time.monotonic()
        self.last = metrics | {
            "reward/optimised": metrics["reward/optimised"] - self._settings.kl.coefficient * kl,
            "kl/mean": kl,
            "kl/coefficient": self._settings.kl.coefficient,
            "policy/loss": logs["loss"],
            "policy/entropy": logs["entropy"],
            "policy/clip_fraction": logs["clip_ratio/region_mean"],
            "group/all_alike": metrics.get("group/all_alike", logs["frac_reward_zero_std"]),
            "optimizer/grad_norm": float(logs["grad_norm"]),
            "optimizer/learning_rate": logs["learning_rate"],
            "throughput/samples_per_second": self._settings.batch_size / (now - self._began),
        } | {f"constraint/{name}/multiplier": multiplier
             for name, multiplier in self._rewards.principle_rewards.constraints.multipliers.items()}
        self._rewards.principle_rewards.constraints.learn(self._rewards.standardised)
        self._began = now
        self._reporter.metric(phase, self.last)
        if self._rewards.answered is not None:
            prompts, texts, rewards, total, lengths, ended = self._rewards.answered
            self._log.add(phase, prompts, texts, rewards, total, None, lengths, ended)
        self._reporter.progress(phase, self._settings.steps)
        if phase % self._settings.sample_every == 0 or phase == self._settings.steps:
            self._show(step=phase)

    def remember(self) -> dict[str, Any]:
        """What a checkpoint holds in addition to the trainer's own state; the responses so far are written first."""
        self._log.flush()
        return {"multipliers": self._rewards.principle_rewards.constraints.state_dict(), "last": self.last}

    def recall(self, checkpoint: Path | None) -> None:
        """Restore what `remember` put into a checkpoint."""
        state = remembered(checkpoint)
        self.last = state.get("last", {})
        multipliers = state.get("multipliers", {})
        if checkpoint is not None and (checkpoint / MULTIPLIERS).is_file():  # of an earlier version
            multipliers = read_json(checkpoint / MULTIPLIERS)
        self._rewards.principle_rewards.constraints.load_state_dict(multipliers)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.global_step % self.steps_per_phase:
            return control  # the answers of a phase are not in a checkpoint: only whole phases end

        def save() -> None:
            control.should_save = True

        try:
            self._reporter.checkpoint_if_stopped(save)
        except StopRequested:
            control.should_training_stop = True
            self.stopped = True
        return control
