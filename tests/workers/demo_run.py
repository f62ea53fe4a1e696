"""A run of the demo world on disk: its policy and preference models as they are before any training."""

from __future__ import annotations

import torch

from training.config import Lora, shipped_recipe
from training.models.language_model import add_adapter, load, pick_device
from training.preference_models import CARD, new_model, save
from training.run.artifacts import write_json
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunStage, Stage

NAMES = [choice.name for choice in shipped_recipe("demo").principles]


def demo_run(team: Team) -> Run:
    """The run, its files as stages leave them; takes the fixture `artifacts`."""
    recipe = shipped_recipe("demo")
    run = Run.objects.create(team=team, name="demo", recipe=recipe.model_dump(mode="json"))
    for position, name in enumerate([*(f"preference_model:{name}" for name in NAMES), "weights", "ppo"]):
        stage = Stage.objects.create(
            team=team, identity=f"{position}".ljust(64, "0"), name=name, kind=name.split(":")[0], status="succeeded",
            settings={"device": "cpu", "precision": "fp32"})
        RunStage.objects.create(run=run, stage=stage, name=name, position=position)
        stage.folder.mkdir(parents=True)
        _fill(stage)
    return run


def _fill(stage: Stage) -> None:
    torch.manual_seed(stage.pk)
    if stage.kind == "preference_model":
        model, adapter = new_model("demo-world", Lora(), "cpu", "fp32")
        save(stage.folder, model, adapter)
        write_json(stage.folder / CARD, {"base": "demo-world", "max_length": 96, "mean": 0.0, "std": 1.0})
    elif stage.kind == "weights":
        write_json(stage.folder / "weights.json", {"weights": dict.fromkeys(NAMES, 0.25)})
    else:
        policy = add_adapter(load("demo-world", pick_device("cpu")), Lora(r=2, alpha=2))
        for name, parameter in policy.adapter.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=4)
        policy.adapter.save_pretrained(stage.folder / "adapter")
