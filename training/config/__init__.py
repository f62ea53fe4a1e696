"""A run's recipe: one frozen, typed description, checked once at the edge. The web form, the YAML and the command
line all read and write this and nothing else. Torch-free.

Every field carries its bounds and one sentence of help; the form shows both.
"""

from training.config.baseline import CONSTITUTION, Baseline
from training.config.judge import JudgeSettings
from training.config.measure import Measure
from training.config.ppo import Kl, Ppo
from training.config.preference_model import Architecture, LabelUse, PreferenceModelSettings
from training.config.recipe import (
    Data,
    Evaluate,
    Policy,
    Preset,
    PrincipleChoice,
    Recipe,
    SampleSettings,
    Sft,
    as_yaml,
    check_recipe,
    parse_recipe,
    shipped_recipe,
)
from training.config.scalarization import Function, Scalarization, Weights
from training.config.section import DEMO_WORLD, EVERYDAY_PROMPTS, Lora, Section
from training.config.stored import Stored, read_exactly, read_stored
from training.config.wording import field_errors
from training.config.yaml_text import read_yaml_text

__all__ = [
    "CONSTITUTION",
    "DEMO_WORLD",
    "EVERYDAY_PROMPTS",
    "Architecture",
    "Baseline",
    "Data",
    "Evaluate",
    "Function",
    "JudgeSettings",
    "Kl",
    "LabelUse",
    "Lora",
    "Measure",
    "Policy",
    "Ppo",
    "PreferenceModelSettings",
    "Preset",
    "PrincipleChoice",
    "Recipe",
    "SampleSettings",
    "Scalarization",
    "Section",
    "Sft",
    "Stored",
    "Weights",
    "as_yaml",
    "check_recipe",
    "field_errors",
    "parse_recipe",
    "read_exactly",
    "read_stored",
    "read_yaml_text",
    "shipped_recipe",
]
