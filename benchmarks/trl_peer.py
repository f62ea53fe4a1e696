"""TRL 1.12.0's PPOTrainer on given models, for `ppo_vs_trl.py`, which runs this file in an environment of its own.

    python benchmarks/trl_peer.py '{"policy": ..., "reward": ..., ...}'

The keys are those of `ppo_vs_trl.Setup`. The last line is a JSON object: seconds of each phase, peak bytes over what
is held once the models are loaded, and the reward and the KL of each phase.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from shapes import Memory, dtype_of, make_prompts
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Sequential(nn.Module):
    """K preference models one after another, in the shape that PPOTrainer can ask: a backbone and a score.

    The trainer takes one reward model only; a user with K of them has to write this. The hidden states of the K
    models are laid side by side and one linear map adds up their weighted scores.
    """

    base_model_prefix = "backbone"

    def __init__(self, models: list[Any]) -> None:
        super().__init__()
        self.backbone = _Backbones([model.model for model in models])
        width = models[0].config.hidden_size
        self.score = nn.Linear(width * len(models), 1, bias=False)
        with torch.no_grad():
            heads = [model.score.weight[0] for model in models]
            self.score.weight.copy_(torch.cat(heads)[None] / len(models))


class _Backbones(nn.Module):
    def __init__(self, trunks: list[Any]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)

    def forward(self, **inputs: Any) -> Any:
        hidden = [trunk(**inputs).hidden_states[-1] for trunk in self.trunks]
        return type("Out", (), {"hidden_states": (torch.cat(hidden, dim=-1),)})


class Watch(TrainerCallback):
    """When each phase ended, and what the trainer logged of it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.logs: list[dict[str, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.monotonic())

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, float], **_kwargs: Any) -> None:
        self.logs.append(logs)


def load_reward(setup: dict[str, Any], dtype: torch.dtype) -> Any:
    def one() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(setup["reward"], num_labels=1, dtype=dtype)

    models = [one() for _ in range(setup["principles"])]
    return models[0] if len(models) == 1 else Sequential(models)


def main() -> None:
    setup = json.loads(sys.argv[1])
    dtype, steps, batch = dtype_of(setup["precision"]), setup["steps"], setup["batch"]
    tokenizer = AutoTokenizer.from_pretrained(setup["policy"], padding_side="left")
    if setup["prompts_file"]:
        lines = Path(setup["prompts_file"]).read_text(encoding="utf-8").splitlines()
        prompts = [json.loads(line)["text"] for line in lines]
    else:
        prompts = make_prompts(setup["prompts"], setup["prompt_tokens"], setup["shape"])
    data = Dataset.from_list([{"input_ids": tokenizer(prompt)["input_ids"]} for prompt in prompts])
    value = AutoModelForSequenceClassification.from_pretrained(setup["policy"], num_labels=1, dtype=dtype)
    nn.init.zeros_(value.score.weight)  # as ours begins
    config = PPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, gradient_accumulation_steps=1,
        num_mini_batches=1, num_ppo_epochs=setup["epochs"], total_episodes=steps * batch,
        local_rollout_forward_batch_size=batch, response_length=setup["response_tokens"], temperature=1.0,
        learning_rate=setup["learning_rate"], lr_scheduler_type="constant", kl_coef=setup["kl"], vf_coef=1.0,
        missing_eos_penalty=None, stop_token="eos" if setup["prompts_file"] else None,
        num_sample_generations=0, report_to="none", save_strategy="no", logging_steps=1,
        use_cpu=setup["device"] == "cpu", bf16=setup["precision"] == "bf16", seed=setup["seed"], disable_tqdm=True,
    )  # fmt: skip
    watch = Watch()
    trainer = PPOTrainer(
        args=config, processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(setup["policy"], dtype=dtype), ref_model=None,
        reward_model=load_reward(setup, dtype), value_model=value, train_dataset=data, callbacks=[watch],
        eval_dataset=data.select(range(1)),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    memory = Memory(setup["device"])
    memory.mark()
    began = time.monotonic()
    trainer.train()
    ends = [began, *watch.ends]
    logged = [log for log in watch.logs if "objective/scores" in log]
    print(json.dumps({
        "seconds": [after - before for before, after in zip(ends, ends[1:], strict=False)],
        "memory": memory.peak(),
        "reward": [log["objective/scores"] for log in logged],
        "kl": [log["objective/kl"] for log in logged],
    }))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
