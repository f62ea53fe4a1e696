"""What a run offers for download now: each item with its size, or with what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from training.config import DEMO_WORLD, Recipe
from training.demo_world import WEIGHTS
from training.run.artifacts import CORNERS, kept_policy
from webapp.runs.downloads.services import folder_size, is_gone, is_lost
from webapp.runs.models import ModelExport, Run, Stage

ADAPTER, TRUNK = "adapter", "trunk"


@dataclass(frozen=True)
class ModelItem:
    """The model of one stage, as a whole model that a worker makes on request."""

    stage: Stage
    name: str
    title: str
    export: ModelExport | None

    @property
    def state(self) -> str:
        """"ready", "working", "failed", or "" where nobody has asked for it."""
        if self.export is None or is_gone(self.export) or is_lost(self.export):
            return ""
        return {"done": "ready", "failed": "failed"}.get(self.export.status, "working")


@dataclass(frozen=True)
class Catalog:
    """Everything that can be taken from a run.

    Attributes:
        policy: the tuned policy as a whole model, once PPO is done.
        adapter: bytes of the adapter with the base that only this team has; None before PPO is done, and where it
            trained every weight.
        kept: steps before the last whose policy was kept, with its bytes.
        preference_models: as whole models.
        has_labels: whether a label stage is done.
    """

    policy: ModelItem | None = None
    adapter: int | None = None
    kept: list[tuple[int, int]] = field(default_factory=list)
    preference_models: list[ModelItem] = field(default_factory=list)
    has_labels: bool = False

    @property
    def is_working(self) -> bool:
        items = [*self.preference_models, *([self.policy] if self.policy else [])]
        return any(item.state == "working" for item in items)


def catalog_of(run: Run) -> Catalog:
    uses = list(run.uses.order_by("position").select_related("stage__export"))
    done = [use for use in uses if use.stage.status == Stage.Status.SUCCEEDED]
    policy, adapter, models = None, None, []
    kept: list[tuple[int, int]] = []
    for use in done:
        stage = use.stage
        export = getattr(stage, "export", None)
        if stage.kind == "ppo":
            policy = ModelItem(stage, use.name, "Policy", export)
            if (stage.folder / ADAPTER).is_dir():
                adapter = sum(map(folder_size, adapter_folders(run, stage).values()))
            kept = [(step, folder_size(folder)) for step in run.stored.recipe.ppo.kept_steps
                    if (folder := kept_policy(stage.folder, step)).is_dir()]
        elif stage.kind == "preference_model":
            models.append(ModelItem(stage, use.name, stage.principle or "all principles", export))
    return Catalog(policy, adapter, kept, models, any(use.stage.kind == "label" for use in done))


def adapter_folders(run: Run, ppo: Stage) -> dict[str, Path]:
    """The adapter, the corners that it is mixed of where it is conditioned, and its base where that is on no hub:
    fine-tuned here, or the demo world's."""
    folders = {ADAPTER: ppo.folder / ADAPTER} | _corners_in(ppo.folder)
    if (base := own_base(run, run.stored.recipe)) is not None:
        folders["base"] = base
    return folders


def kept_folders(run: Run, ppo: Stage, step: int) -> dict[str, Path]:
    """The policy that was kept after a step: its whole model, or its adapter with what `adapter_folders` adds."""
    kept = kept_policy(ppo.folder, step)
    if (kept / "model").is_dir():
        return {"model": kept / "model"}
    return adapter_folders(run, ppo) | {ADAPTER: kept / ADAPTER} | _corners_in(kept)


def _corners_in(folder: Path) -> dict[str, Path]:
    return {CORNERS: folder / CORNERS} if (folder / CORNERS).is_dir() else {}


def own_base(run: Run, recipe: Recipe) -> Path | None:
    """The folder of a base that cannot be had elsewhere, None where the recipe's name says where it is."""
    if recipe.sft.enabled:
        stage = Stage.objects.filter(uses__run=run, kind="sft").first()
        return stage.folder / "model" if stage is not None else None
    return WEIGHTS if recipe.policy.base == DEMO_WORLD else None
