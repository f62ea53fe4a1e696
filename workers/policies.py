"""Where a policy is on this machine: its base, its adapters with their weights, and how it was trained. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from training.errors import BadSettings, ModelUnavailable
from training.run.artifacts import corner_policy, kept_policy
from webapp.runs.models import Stage


class LocatedPolicy(NamedTuple):
    """A policy of a team as files.

    Attributes:
        base: a name as a person typed it, or the folder of a model that a stage made.
        parts: (folder of an adapter, its weight): none for the base alone, one of weight 1 for a trained policy,
            several for a mix.
        device, precision: those of the stage that made it.
    """

    base: str | Path
    parts: tuple[tuple[Path, float], ...]
    device: str
    precision: str


def located(team: int, reference: Mapping[str, Any]) -> LocatedPolicy:
    """The files of a policy that `selectors.Policies.reference` describes. Its ids come from a broker or a browser, so
    they are checked again.

    Raises:
        ModelUnavailable: its files are not there.
        BadSettings: it is a mix, and every weight of one of its policies was trained.
    """
    tuned, started = finished_stage(team, reference["stage"]), finished_stage(team, reference["sft"])
    stage_settings = tuned.settings if tuned else started.settings if started else {}
    base: str | Path = started.folder / "model" if started else reference["base"]
    parts: tuple[tuple[Path, float], ...] = ()
    if mixed := reference.get("parts"):
        parts = tuple(_part(team, part) for part in mixed)
    elif tuned is not None:
        trained = _trained(tuned, reference)
        if (trained / "model").is_dir():  # every weight was trained: a base of its own
            base = trained / "model"
        else:
            parts = ((trained / "adapter", 1.0),)
    return LocatedPolicy(base, parts, stage_settings.get("device", "auto"), stage_settings.get("precision", "fp32"))


def finished_stage(team: int, stage_id: int | None) -> Stage | None:
    """A finished stage of the team; None for no id. Raises ModelUnavailable."""
    if stage_id is None:
        return None
    stage = Stage.objects.filter(team_id=team, pk=stage_id, status=Stage.Status.SUCCEEDED).first()
    if stage is None:
        raise ModelUnavailable("The files of this policy no longer exist.", "Reload the page and choose another one.")
    return stage


def _part(team: int, part: Mapping[str, Any]) -> tuple[Path, float]:
    stage = finished_stage(team, part["stage"])
    assert stage is not None
    trained = _trained(stage, part)
    if (trained / "model").is_dir():
        raise BadSettings(f"Every weight of the policy of {stage} was trained; it has no adapter to mix.",
                          "Mix policies that were trained with 'policy.lora'.")
    return trained / "adapter", float(part["weight"])


def _trained(tuned: Stage, reference: Mapping[str, Any]) -> Path:
    """The folder with the policy that a PPO stage trained: after its last step, one whose policy was kept, a corner."""
    if "corner" in reference:
        return corner_policy(tuned.folder, reference["corner"])
    step: int | None = reference.get("step")
    if step is None:
        return tuned.folder
    kept = kept_policy(tuned.folder, step)
    if not kept.is_dir():
        raise ModelUnavailable(f"The policy of step {step} was not kept.", "Reload the page and choose another one.")
    return kept
