"""Supervised fine-tuning: the base learns to answer as the dataset's chosen responses do, before anything is rewarded.

TRL's SFTTrainer does the work, with the loss on the response alone, and LoRA (arXiv 2106.09685) on every linear layer
unless every weight is trained. At the end the adapter is merged and a whole model is saved: later stages see an
ordinary base model, and PPO's reference is this policy, as in InstructGPT (arXiv 2203.02155). A batch that the memory
would not hold goes through in parts, whose gradients are summed. Left out: packing, several GPUs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.config import Policy, Sft
from training.errors import BadData, Diverged, StopRequested
from training.models import language_model, memory
from training.models.encoding import encode_prompt, encode_reply
from training.models.exactness import check_decoding
from training.models.full_weights import save_model
from training.models.language_model import LanguageModel
from training.models.trainer_checkpoints import WholeCheckpoints, newest_whole, step_of, writing_folder
from training.run.artifacts import Job, read_jsonl
from training.run.reporting import Reporter

CHECKPOINT_EVERY = 50


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write model/: a whole model with the adapter, if any, merged in; safetensors and tokenizer.

    Raises:
        BadData: there are no dialogues.
        Diverged: the loss is NaN or infinite.
        ModelUnavailable, OutOfMemory: the base cannot be loaded, or does not fit.
        StopRequested: after a checkpoint.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = Sft.model_validate(job.settings["sft"])
    policy = Policy.model_validate(job.settings["policy"])
    device = language_model.pick_device(job.settings["device"])
    # Weights that are trained themselves are fp32; passes over them are then computed in bf16 (autocast).
    precision = job.settings["precision"]
    language = language_model.load(policy.base, device, precision if policy.lora else "fp32")
    check_decoding(language, "policy.base")
    max_length = min(settings.max_length, language.longest)
    rows = [tokens_of(language, row, max_length) for row in read_jsonl(job.files["dialogues"])]
    rows = [row for row in rows if any(row["completion_mask"])]
    if not rows:
        raise BadData("There are no dialogues with a response to learn from.", "Import data with chosen responses.")
    longest = max(len(row["input_ids"]) for row in rows)
    rows_at_once = memory.rows_of_an_sft_pass(language.model, device, settings.batch_size, longest)
    if rows_at_once < settings.batch_size:
        reporter.log(f"{rows_at_once} of a batch's {settings.batch_size} dialogues at a time, for the memory's sake")
    torch.manual_seed(job.settings["seed"])
    if policy.lora is None:
        language.model.requires_grad_(True)
    else:
        language = language_model.add_adapter(language, policy.lora)
    checkpoints = folder / "checkpoint"
    resumed = newest_whole(checkpoints)
    trainer = SFTTrainer(
        model=language.model if language.adapter is None else language.adapter,
        args=SFTConfig(
            **schedule(settings, rows_at_once),
            output_dir=str(writing_folder(checkpoints)),
            max_length=max_length,
            completion_only_loss=True,
            seed=job.settings["seed"],
            use_cpu=device.type == "cpu",
            bf16=policy.lora is None and precision == "bf16",  # else the weights have that precision already
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=device.type == "cuda",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=language.tokenizer,
        callbacks=[(callback := _Reports(reporter)), WholeCheckpoints(checkpoints)],
    )
    reporter.rewind(step_of(resumed) if resumed else 0)
    with language_model.translate_oom():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if callback.stopped:
        raise StopRequested
    save_whole(language, folder / "model", precision)
    reporter.artifact("model", "model")


def schedule(settings: Sft, rows_at_once: int) -> dict[str, Any]:
    """What the trainer does when; a batch is computed in parts of `rows_at_once` rows."""
    return {
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": rows_at_once,
        "gradient_accumulation_steps": settings.batch_size // rows_at_once,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "logging_steps": 1,
        "save_steps": CHECKPOINT_EVERY,
    }


def tokens_of(language: LanguageModel, row: dict[str, Any], max_length: int) -> dict[str, list[int]]:
    """Token ids of a dialogue and which of them are the response; what is too long is cut at the left.

    The response is encoded as the policy will be asked for it: after the prompt, a space first where there is no chat
    template, an end token last.
    """
    prompt = encode_prompt(language.tokenizer, row["prompt"])
    reply = row["response"] if language.tokenizer.chat_template else row["response"].strip()
    response = encode_reply(language.tokenizer, reply)
    response = [*response, language.tokenizer.eos_token_id][:max_length]
    prompt = prompt[-(max_length - len(response)) :] if len(response) < max_length else []
    return {"input_ids": prompt + response, "completion_mask": [0] * len(prompt) + [1] * len(response)}


def save_whole(language: LanguageModel, folder: Path, precision: str) -> None:
    """Write the whole model in the precision of the run, with the adapter, if any, merged into its weights."""
    if language.adapter is not None:
        language = replace(language, model=language.adapter.merge_and_unload(), adapter=None)
    elif precision == "bf16":
        language.model.to(torch.bfloat16)
    save_model(language, folder)


class _Reports(TrainerCallback):
    """Hands the trainer's log to the reporter, and the reporter's stop to the trainer: save first, then stop."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.stopped = False

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float],
        **_: Any,
    ) -> None:  # fmt: skip
        if "loss" not in logs:
            return
        if logs["loss"] != logs["loss"]:
            raise Diverged("The loss of the fine-tuning is NaN or infinite.", "Start with a lower learning rate.")
        names = {"loss": "sft/loss", "grad_norm": "optimizer/grad_norm", "learning_rate": "optimizer/learning_rate",
                 "mean_token_accuracy": "sft/accuracy", "entropy": "sft/entropy"}  # fmt: skip
        self._reporter.metric(state.global_step, {names[key]: logs[key] for key in names if key in logs})
        self._reporter.progress(state.global_step, state.max_steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        def save() -> None:
            control.should_save = True

        try:
            self._reporter.checkpoint_if_stopped(save)
        except StopRequested:
            control.should_training_stop = True
            self.stopped = True
        return control
