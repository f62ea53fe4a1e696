"""Who labels the pairs, and how they are asked. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from training.config.address import BadAddress, is_openai, parse_address
from training.config.measure import Measure
from training.config.section import Section, is_none

Layout = Literal["paper", "shared_prefix"]

RUNTIME_ONLY = frozenset({
    "api_key_env", "logprobs", "concurrency", "timeout", "mode", "requests_per_minute", "tokens_per_minute",
    "budget_calls", "budget_tokens", "budget_money", "price_in", "price_out", "most_flips"})
"""How fast, with which account and at what price a judge is asked, whether log-probabilities are tried, and when the
labels stop. None of it changes what a label means, so it is not part of a stage's identity."""

LOCAL_VERSION = 2
"""Raise it when a local judge is asked otherwise than before: it is part of the identity of every stage that asks one.

    2   the judge's answer is begun for it
"""

BUDGETS = ("budget_calls", "budget_tokens", "budget_money")


class JudgeSettings(Section):
    kind: Literal["rule", "openai", "local", "measure"] = Field(
        "rule", description="The demo world's rules, an OpenAI-like server, or a model on the workers' machine.")
    measure: Measure | None = Field(None, exclude_if=is_none, description=(
        "What a measured principle is labelled by; set by the principle, not here."))
    model: str = Field("", max_length=200, description="The model's name on the server; for a local judge, a "
                                                 "hub id or a folder of models.")
    base_url: str = Field("", max_length=500, description="The server's address, ending in /v1; empty: OpenAI's.")
    api_key_env: Annotated[str, StringConstraints(pattern=r"^((OPENAI|CONCORD_JUDGE)[A-Z0-9_]*_KEY)?$")] = Field(
        "", description="The environment variable that holds the key (OPENAI_API_KEY or CONCORD_JUDGE_..._KEY).")
    both_orders: bool = Field(True, description=(
        "Ask about each pair in both orders and average, which removes position bias."))
    layout: Layout = Field("paper", description=(
        "The paper's question, or the principle last, so that the calls on a pair share a prefix that servers keep; "
        "with a local judge twelve principles then cost little more than one."))
    most_flips: float = Field(0.6, ge=0, le=1, description=(
        "Stop labelling where a larger share of the labels flips with the order of the responses, as all do with a "
        "judge that always names the first; 1: never stop. Looked at after 50 pairs and at the end."))
    few_shot: int = Field(0, ge=0, le=4, description=(
        "Solved examples before the question; half of them have the answer B."))
    reasoning: bool = Field(False, description="The judge thinks before it answers: costs more and takes longer.")
    max_pairs: int = Field(600, ge=2, le=1_000_000, description="At most this many pairs are labelled per principle.")
    logprobs: Literal["auto", "yes", "no"] = Field(
        "auto", description="Log-probabilities of the answer: if the server gives them, always, or never.")
    samples: int = Field(4, ge=1, le=32, description="Answers sampled where the server gives no log-probabilities.")
    mode: Literal["live", "batch"] = Field(
        "live", description="Ask at once, or through the provider's Batch API, which is cheaper and takes up to a day.")
    concurrency: int = Field(16, ge=1, le=512, description="At most this many requests in flight.")
    timeout: int = Field(60, ge=1, le=3600, description="Seconds that a request may take.")
    requests_per_minute: int = Field(0, ge=0, le=10_000_000, description=(
        "At most this many requests per minute; 0: as many as the server allows."))
    tokens_per_minute: int = Field(0, ge=0, le=10_000_000_000, description=(
        "At most this many tokens per minute; 0: as many as the server allows."))
    budget_calls: int = Field(0, ge=0, le=1_000_000_000, description="Answers that a run's labels and evaluation "
                                                                     "may cost; 0: no limit.")
    budget_tokens: int = Field(0, ge=0, le=1_000_000_000_000, description="Tokens that a run's labels and "
                                                                          "evaluation may cost; 0: no limit.")
    budget_money: float = Field(0, ge=0, le=1e9, description="Money that a run's labels and evaluation may "
                                                             "cost, at the prices below; 0: no limit.")
    price_in: float = Field(0, ge=0, le=1e6, description="Price of a million tokens that the judge reads.")
    price_out: float = Field(0, ge=0, le=1e6, description="Price of a million tokens that the judge writes.")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if (self.kind == "measure") != (self.measure is not None):
            raise ValueError("a measure belongs to a principle: give it there, as "
                             "{name: brevity, measure: {kind: words}}")
        if self.kind not in {"rule", "measure"} and not self.model:
            raise ValueError("a judge that is a model needs the model's name in 'model'")
        if self.api_key_env.startswith("OPENAI") and not is_openai(self.base_url):
            raise ValueError("OPENAI_API_KEY is sent to https://api.openai.com only; for another server put its key "
                             "in a variable CONCORD_JUDGE_..._KEY")
        if self.budget_money and not (self.price_in or self.price_out):
            raise ValueError("a budget in money needs the prices: set 'price_in' and 'price_out', or 'budget_tokens'")
        return self


def address_problem(judge: JudgeSettings) -> str:
    """What is wrong with the address of a judge on a server, or "". Checked when a run is started, not whenever a
    recipe is read: a saved recipe must still open."""
    if judge.kind != "openai" or not judge.base_url:
        return ""
    try:
        parse_address(judge.base_url)
    except BadAddress as error:
        return f"{error}"
    return ""
