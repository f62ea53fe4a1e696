"""A run's recipe: one frozen, typed description, checked once at the edge. The web form, the YAML and the command
line all read and write this and nothing else. Torch-free.

Every field carries its bounds and one sentence of help; the form shows both.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from training.errors import BadSettings
from training.principles import library

DEMO_WORLD = "demo-world"

Function = Literal[
    "linear", "worst_case", "soft_max_min", "uncertainty_weighted", "lower_quantile", "max_median", "bernoulli_nash"
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Section):
    source: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "Where prompts come from: 'demo-world', a JSONL, CSV or Parquet file, or a hub id like 'Anthropic/hh-rlhf'."))
    split: str = Field("train", max_length=100, description="The split of a hub data set.")
    columns: dict[str, str] = Field({}, description="Column mapping, e.g. {prompt: question}; empty: recognised.")
    limit: int = Field(4000, ge=4, le=1_000_000, description="At most this many rows are used.")
    held_out: int = Field(300, ge=2, le=100_000, description="Prompts kept for evaluation; never trained on.")


class PrincipleChoice(Section):
    name: Name
    statement: str = Field("", max_length=2000, description="Completes 'Which response is ...'; empty: the library's.")
    weight: float = Field(1.0, ge=-100, le=100, description="Its weight in the scalarization; shares are computed.")

    @property
    def wording(self) -> str:
        """The statement that the judge is asked with."""
        return self.statement or library()[self.name].statement


class Judge(Section):
    kind: Literal["rule", "openai"] = Field("rule", description="The demo world's rules, or an OpenAI-like server.")
    model: str = Field("", max_length=200, description="The model's name on the server.")
    base_url: str = Field("", max_length=500, description="The server's address, ending in /v1; empty: OpenAI's.")
    api_key_env: Annotated[str, StringConstraints(pattern=r"^((OPENAI|CONCORD_JUDGE)[A-Z0-9_]*_KEY)?$")] = Field(
        "", description="The environment variable that holds the key (OPENAI_API_KEY or CONCORD_JUDGE_..._KEY).")
    both_orders: bool = Field(True, description="Ask each pair in both orders and average: takes position bias out.")
    max_pairs: int = Field(600, ge=2, le=1_000_000, description="At most this many pairs are labelled per principle.")
    concurrency: int = Field(16, ge=1, le=512, description="Requests in flight.")
    samples: int = Field(4, ge=1, le=32, description="Answers drawn where the server gives no log-probabilities.")

    @model_validator(mode="after")
    def _server_needs_a_model(self) -> Self:
        if self.kind == "openai" and not self.model:
            raise ValueError("a judge on a server needs the model's name in 'model'")
        if self.api_key_env.startswith("OPENAI") and self.base_url and not self.base_url.startswith(
            "https://api.openai.com/"):
            raise ValueError("OPENAI_API_KEY is sent to https://api.openai.com only; for another server put its key "
                             "in a variable CONCORD_JUDGE_..._KEY")
        return self


class Lora(Section):
    r: int = Field(8, ge=1, le=512, description="Rank of the adapter.")
    alpha: int = Field(32, ge=1, le=2048, description="Scale of the adapter: alpha / r multiplies its output.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside the adapter (preference models only).")


class Policy(Section):
    base: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "'demo-world', a hub id, or a local folder with safetensors weights."))
    lora: Lora = Lora(r=16, alpha=32)


class PreferenceModel(Section):
    base: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "Base of the preference models; may differ from the policy's, tokenizer included."))
    lora: Lora = Lora(r=8, alpha=32, dropout=0.1)
    epochs: int = Field(1, ge=1, le=100, description="Passes over the labelled pairs.")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak of a cosine schedule.")
    warmup_steps: int = Field(250, ge=0, le=100_000, description="Steps of linear warm-up (at most a tenth of all).")
    batch_size: int = Field(32, ge=1, le=4096, description="Pairs a step.")
    max_length: int = Field(512, ge=16, le=131_072, description="Tokens of prompt and response; cut at the left.")
    held_out: float = Field(0.15, gt=0, lt=0.9, description="Share of the pairs kept for accuracy and calibration.")


class Sft(Section):
    enabled: bool = Field(False, description="Fine-tune the base on the data set's chosen responses first.")
    epochs: int = Field(1, ge=1, le=100, description="Passes over the data.")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak learning rate.")
    batch_size: int = Field(16, ge=1, le=4096, description="Dialogues a step.")
    max_length: int = Field(512, ge=16, le=131_072, description="Tokens a dialogue.")


class Sample(Section):
    pairs: Literal["sampled", "dataset"] = Field("sampled", description=(
        "Pairs to label: two samples of the policy a prompt, or the data set's own chosen and rejected responses."))
    count: int = Field(600, ge=2, le=1_000_000, description="Pairs to sample.")
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature.")
    max_new_tokens: int = Field(24, ge=1, le=8192, description="Longest response.")
    batch_size: int = Field(128, ge=1, le=4096, description="Responses generated at a time.")


class Weights(Section):
    mode: Literal["set", "fitted"] = Field("set", description=(
        "Use the weights given, or fit them to human choices in the data set by logistic regression."))


class Scalarization(Section):
    function: Function = Field("linear", description="How principle rewards become one reward.")
    temperature: float = Field(1.0, gt=0, le=100, description="soft_max_min: softness of the minimum.")
    penalty: float = Field(0.5, ge=0, le=100, description="uncertainty_weighted: times the variance across principles.")
    quantile: float = Field(1 / 3, gt=0, le=1, description="lower_quantile: the lowest share that is averaged.")


class Kl(Section):
    coefficient: float = Field(0.05, ge=0, le=10, description="KL penalty per token at the start.")
    adaptive: bool = Field(True, description="Steer the coefficient towards the target.")
    target: float = Field(6.0, gt=0, le=1000, description="Wanted KL to the reference, in nats a response.")
    horizon: int = Field(10_000, ge=1, le=10**9, description="Samples over which the coefficient adapts.")


class Ppo(Section):
    steps: int = Field(200, ge=1, le=1_000_000, description="Rollout phases.")
    batch_size: int = Field(128, ge=2, le=65_536, description="Rollouts a phase.")
    epochs: int = Field(4, ge=1, le=64, description="Passes over each phase's rollouts.")
    minibatches: int = Field(1, ge=1, le=1024, description="Optimizer steps an epoch.")
    learning_rate: float = Field(4e-6, gt=0, le=1, description="AdamW's learning rate.")
    warmup_steps: int = Field(10, ge=0, le=100_000, description="Phases of linear warm-up.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount a token.")
    lam: float = Field(0.95, ge=0, le=1, description="Lambda of generalised advantage estimation.")
    clip: float = Field(0.2, gt=0, le=10, description="Clip range of the policy's ratio.")
    value_clip: float = Field(0.2, gt=0, le=100, description="Clip range of the value function.")
    value_coefficient: float = Field(1.0, ge=0, le=100, description="Weight of the value loss.")
    reward_clip: float = Field(10.0, gt=0, le=1000, description="Rewards are clipped to plus and minus this.")
    no_eos_penalty: float = Field(1.0, ge=0, le=100, description="Taken from the reward of a response without an end.")
    max_grad_norm: float = Field(1.0, gt=0, le=1000, description="Gradient clipping.")
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature of the rollouts.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="Longest response.")
    micro_batch: int = Field(64, ge=1, le=65_536, description="Rows in one forward and backward pass.")
    kl: Kl = Kl()
    checkpoint_every: int = Field(20, ge=1, le=100_000, description="Phases between checkpoints.")
    sample_every: int = Field(10, ge=1, le=100_000, description="Phases between sample responses.")
    sample_prompts: int = Field(6, ge=0, le=64, description="Fixed prompts followed through training.")


class Evaluate(Section):
    prompts: int = Field(300, ge=2, le=100_000, description="Held-out prompts on which the policy meets its base.")
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="Longest response.")


class Recipe(Section):
    """A whole run."""

    name: str = Field("untitled", min_length=1, max_length=200, description="What the run is called.")
    data: Data = Data()
    principles: tuple[PrincipleChoice, ...] = Field(min_length=1, max_length=64)
    judge: Judge = Judge()
    policy: Policy = Policy()
    preference_model: PreferenceModel = PreferenceModel()
    sft: Sft = Sft()
    sample: Sample = Sample()
    weights: Weights = Weights()
    scalarization: Scalarization = Scalarization()
    ppo: Ppo = Ppo()
    evaluate: Evaluate = Evaluate()
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything random.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Number format of the weights in forward passes.")

    @field_validator("principles")
    @classmethod
    def _principles_are_usable(cls, chosen: tuple[PrincipleChoice, ...]) -> tuple[PrincipleChoice, ...]:
        names = [choice.name for choice in chosen]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"principle named twice: {', '.join(doubled)}; remove one")
        if math.fsum(abs(choice.weight) for choice in chosen) == 0:
            raise ValueError("all weights are zero; give at least one principle a weight")
        unworded = [choice.name for choice in chosen if not choice.statement and choice.name not in library()]
        if unworded:
            raise ValueError(f"not in the library: {', '.join(unworded)}; give each a 'statement'")
        return chosen

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.judge.kind == "rule" and self.data.source != DEMO_WORLD:
            raise ValueError("the rule judge knows the demo world only; choose a judge on a server for this data")
        if self.sample.pairs == "dataset" and self.data.source == DEMO_WORLD:
            raise ValueError("the demo world has prompts only; choose pairs 'sampled'")
        return self

    @property
    def weights_by_name(self) -> dict[str, float]:
        """Weights as shares: sum of absolute values is 1, signs kept."""
        total = math.fsum(abs(choice.weight) for choice in self.principles)
        return {choice.name: choice.weight / total for choice in self.principles}


def parse_recipe(text: str) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        BadSettings: naming each field, its value and what is wrong with it.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadSettings(f"The recipe is not valid YAML: {error}.", "Mend the line it names.") from error
    return check_recipe(value)


def check_recipe(value: Any) -> Recipe:
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(f"{field}: {message}" for field, message in field_errors(error))
        raise BadSettings(f"The recipe cannot be used: {problems}.", "Change these fields and try again.") from error


def field_errors(error: ValidationError) -> list[tuple[str, str]]:
    """(dotted field, message with the value) of each problem, for people."""
    problems = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "recipe"
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) and field != "recipe" else ""
        problems.append((field, message + shown))
    return problems


def as_yaml(recipe: Recipe) -> str:
    """The recipe as the YAML that `parse_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def shipped_recipe(name: Literal["demo", "small_gpu", "large_gpu"]) -> Recipe:
    """One of the presets in `training/recipes/`."""
    from importlib.resources import files

    return parse_recipe(files("training").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8"))
