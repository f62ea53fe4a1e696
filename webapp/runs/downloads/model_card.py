"""A run's model card: Markdown with the front matter that the hub reads. Everything in it is in the database."""

from __future__ import annotations

from typing import Any

import yaml

from training.config import DEMO_WORLD, Recipe, as_yaml
from training.judges.identity import judge_name, judge_title
from webapp.runs.models import Run
from webapp.runs.page.run_page import RunPage
from webapp.runs.series.curves import read_series

CURVE_STEPS = 10


def model_card(run: Run) -> str:
    """The card of a finished run."""
    page, recipe = RunPage(run), run.stored.recipe
    parts = [
        "---\n" + yaml.safe_dump(_front_matter(recipe), sort_keys=False, allow_unicode=True) + "---\n",
        f"# {run.name}\n\nA policy trained by multi-objective reinforcement learning from AI feedback (MORLAIF, arXiv "
        f"2406.07295) in Concord: run {run.pk}, finished {run.finished_at:%Y-%m-%d}.\n" if run.finished_at else
        f"# {run.name}\n",
        _win_rates(page), _principles(page, recipe), _data(run, recipe), _judge(recipe), _training(recipe),
        _curves(page), _use(recipe), "## Recipe\n\n```yaml\n" + as_yaml(recipe) + "```\n"]
    return "\n".join(part for part in parts if part)


def _front_matter(recipe: Recipe) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation",
                             "tags": ["morlaif", "rlaif", recipe.ppo.algorithm, "concord"]}
    if recipe.policy.base != DEMO_WORLD:
        front["base_model"] = recipe.policy.base
    return front


def _win_rates(page: RunPage) -> str:
    result = page.evaluation
    if result is None:
        return ""
    rows = [("all principles together", result["overall"])]
    rows += [(principle.name, win) for principle, win in result["rows"] if principle is not None]
    lines = [f"| {name} | {win.rate:.1%} | {win.low:.1%} to {win.high:.1%} | {win.n} |" for name, win in rows]
    return ("## Against its base\n\nHow often the judge prefers this policy to its base on held-out prompts (ties "
            "count half).\n\n| principle | win rate | 95% interval | pairs |\n| --- | --- | --- | --- |\n"
            + "\n".join(lines) + "\n")


def _principles(page: RunPage, recipe: Recipe) -> str:
    weights: dict[str, float] = recipe.weights_by_name
    fitted = next((stage.summary.get("weights") for stage in page.stages if stage.kind == "weights" and stage.summary),
                  None)
    weights |= fitted or {}
    cards = {card.principle.name: card for card in page.cards if card.principle is not None}
    lines = []
    for choice in recipe.principles:
        card = cards.get(choice.name)
        share = card.accuracy if card is not None else None
        accuracy = f"{share.rate:.2f} ({share.low:.2f} to {share.high:.2f})" if share is not None else ""
        weight = "gauge" if choice.serves == "gauge" else f"{weights.get(choice.name, 0.0):+.3f}"
        lines.append(f"| {choice.name} | Which response is {choice.wording}? | {weight} | {accuracy} |")
    return ("## Principles\n\n| principle | question to the judge | weight | held-out accuracy of its preference model "
            "|\n| --- | --- | --- | --- |\n" + "\n".join(lines)
            + f"\n\nScalarization: {recipe.scalarization.function.replace('_', ' ')}.\n")


def _data(run: Run, recipe: Recipe) -> str:
    name = run.dataset.title if run.dataset is not None else recipe.data.source
    digests = ", ".join(f"{role} `{digest[:12]}`" for role, digest in sorted(run.file_digests.items()))
    pairs = ("two samples of the policy per prompt" if recipe.sample.pairs == "sampled"
             else "the dataset's own chosen and rejected responses")
    return (f"## Data\n\n{name}: at most {recipe.data.limit:,} rows, {recipe.data.held_out:,} prompts held out for the "
            f"evaluation. Pairs to label: {pairs}. Digests of the files: {digests}.\n")


def _judge(recipe: Recipe) -> str:
    judge = recipe.judge
    name = "rules of the demo world" if judge.kind == "rule" else judge_title(judge_name(judge))
    orders = "in both orders, averaged" if judge.both_orders else "in one order"
    return (f"## Judge\n\n{name}, asked about each pair {orders}; at most {judge.max_pairs:,} pairs per principle. "
            "People's corrections replace the judge's labels.\n")


def _training(recipe: Recipe) -> str:
    ppo = recipe.ppo
    return (f"## Training\n\n{ppo.algorithm.upper()}: {ppo.steps} phases of {ppo.batch_size} responses of at most "
            f"{ppo.max_new_tokens} tokens, {ppo.epochs} epochs each, learning rate {ppo.learning_rate:g}, KL "
            f"coefficient {ppo.kl.coefficient:g}, seed {recipe.seed + recipe.repeat}, {recipe.precision}.\n")


def _curves(page: RunPage) -> str:
    """Reward and KL at a few steps; the whole series are in metrics.csv."""
    ppo = next((stage for stage in page.stages if stage.kind == "ppo"), None)
    if ppo is None:
        return ""
    tags = {"reward": "reward/total", "KL to the base": "kl/mean", "length": "response/length"}
    series = {title: read_series(ppo.pk, tag) for title, tag in tags.items()}
    reward = series["reward"]
    if not len(reward.steps):
        return ""
    last = len(reward.steps) - 1
    places = sorted({round(last * part / (CURVE_STEPS - 1)) for part in range(CURVE_STEPS)})
    lines = []
    for place in places:
        step = int(reward.steps[place])
        values = [_value_at(column, step) for column in series.values()]
        lines.append(f"| {step} | " + " | ".join(values) + " |")
    return (f"## Curves\n\n| step | {' | '.join(series)} |\n| {' | '.join(['---'] * (len(series) + 1))} |\n"
            + "\n".join(lines) + "\n")


def _value_at(series: Any, step: int) -> str:
    values = series.values[series.steps == step]
    return f"{float(values[-1]):.3g}" if len(values) else ""


def _use(recipe: Recipe) -> str:
    if recipe.policy.lora is None:
        return ("## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                "model = AutoModelForCausalLM.from_pretrained(\"policy\")\n"
                "tokenizer = AutoTokenizer.from_pretrained(\"policy\")\n```\n")
    base = recipe.policy.base if recipe.policy.base != DEMO_WORLD and not recipe.sft.enabled else "base"
    note = "" if base != "base" else " The base is in the folder `base` of this archive."
    return ("## Use\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            "# The merged model\nmodel = AutoModelForCausalLM.from_pretrained(\"policy\")\n"
            "tokenizer = AutoTokenizer.from_pretrained(\"policy\")\n\n"
            "# The adapter on its base\nfrom peft import PeftModel\n"
            f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(\"{base}\"), \"adapter\")\n```\n"
            + (f"\n{note.strip()}\n" if note else ""))
