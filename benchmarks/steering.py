"""Ways to a front of two conflicting principles in the demo world: many runs, mixes of two runs, one conditioned run.

    python benchmarks/steering.py --out DIR [--seeds 1,2,3] [--parts 9] [--steps 20] [--picture FILE.svg]

For each seed a sweep trains a policy for each weighting of detail and conciseness, ten with `--parts 9`. Its two ends
are mixed at the weights between them, by weights (rewarded soups) and by probabilities (MOD). One conditioned run is
trained with a third of the sweep's samples, and its corners are mixed at all ten weightings. Every policy answers the
same held-out prompts with the same random numbers, and the demo world's rules compare each answer with the base's. Runs
of a sweep share pairs, labels and preference models; everything done stays in DIR, and the same call goes on from it.

Printed for each seed: hypervolumes from (0, 0) with 95 % intervals over prompts, the widest gap between neighbours on a
front (what a linear sum leaves out where a front is not convex), and the share of fragments: answers without an end or
with a word twice in a row (what conflicting gradients may leave of a policy). The last line has means over the seeds:
`conditioned_of_sweep: 0.95 soup_of_sweep: 0.97 mod_of_sweep: 0.98 samples_of_sweep: 0.33`, ratios of hypervolumes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import repository
import torch
import yaml
from numpy.typing import NDArray

from training.config import Evaluate
from training.demo_world import rules
from training.dialogue import Dialogue, shown_prompt
from training.fronts.bootstrap import Sample, hypervolume_interval
from training.fronts.dominance import Direction, non_dominated
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.mixed_lora import MixedLora
from training.models.policy_mix import Weighted, mix_policies
from training.models.probability_mix import generate_mixed
from training.paper.drawing import Series, scatter
from training.quality.win_rates import outcome
from training.run.artifacts import read_json, read_jsonl
from training.run.reporting import NullReporter
from training.stages import evaluate

PRINCIPLES = ("detail", "conciseness")
BATCH, PROMPTS, TOKENS = 64, 300, 24
DIRECTIONS: tuple[Direction, Direction] = ("higher", "higher")
COLORS = {"sweep": "#1c2430", "soup": "#c2570c", "MOD": "#2b8a3e", "conditioned": "#3b5bdb"}
LABELS = {"sweep": "a run for each weighting", "soup": "the two ends mixed by weights",
          "MOD": "the two ends mixed by probabilities", "conditioned": "one conditioned run, a third of the samples"}


class Policy(NamedTuple):
    """A point of a front: of which kind, its weight on the first principle, and what answers for it."""

    kind: str
    weight: float
    answer: Callable[[], list[str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--parts", type=int, default=9, help="of the weights; a front has one point more")
    parser.add_argument("--steps", type=int, default=20, help="phases of PPO in each run of the sweep")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    phases = round((options.parts + 1) * options.steps / 3)
    seeds = [{"repeat": seed} for seed in options.seeds]
    fixed = run_sweep(options.out, "fixed", recipe_of(options.steps), {
        "simplex": {"principles": list(PRINCIPLES), "parts": options.parts}, "seeds": options.seeds})
    conditioned = run_sweep(options.out, "conditioned", recipe_of(phases, conditioned=True), {"list": seeds})
    fronts = [front_of_seed(options.out, seed, fixed, conditioned, options.parts) for seed in options.seeds]
    ratios = {kind: fmean(front[kind]["hypervolume"][0] / front["sweep"]["hypervolume"][0] for front in fronts)
              for kind in ("conditioned", "soup", "MOD")}
    if options.picture is not None:
        options.picture.write_text(picture(fronts))
    samples = phases / ((options.parts + 1) * options.steps)
    print(f"conditioned_of_sweep: {ratios['conditioned']:.2f} soup_of_sweep: {ratios['soup']:.2f} "
          f"mod_of_sweep: {ratios['MOD']:.2f} samples_of_sweep: {samples:.2f}")
    return 0


def recipe_of(steps: int, conditioned: bool = False) -> dict[str, Any]:
    """Detail against conciseness: the settings of docs/guides/sweeps.md."""
    learning = {"lora": {"r": 16, "alpha": 32}, "epochs": 2, "learning_rate": 0.005, "warmup_steps": 10,
                "batch_size": 32, "max_length": 96}
    ppo = {"steps": steps, "batch_size": 64, "epochs": 2, "learning_rate": 0.001, "warmup_steps": 5,
           "max_new_tokens": TOKENS, "micro_batch": 32, "sample_prompts": 0, "kl": {"coefficient": 0.1, "target": 2.5}}
    return {"name": "Detail or conciseness", "principles": [{"name": name} for name in PRINCIPLES],
            "judge": {"max_pairs": 400}, "sample": {"count": 400}, "preference_model": learning,
            "ppo": ppo | ({"conditioned": True} if conditioned else {}),
            "evaluate": {"prompts": PROMPTS, "max_new_tokens": TOKENS}, "device": "cpu"}


def run_sweep(out: Path, name: str, recipe: dict[str, Any], over: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of sweep.json, all done; what an earlier call has done is not done again."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"recipe": recipe, "over": over}))
    subprocess.run([sys.executable, "-m", "training", "sweep", str(file.resolve()), str(out.resolve())], check=True,
                   cwd=repository.ROOT, stdout=sys.stderr)
    runs: list[dict[str, Any]] = read_json(out / "sweep.json")["runs"]
    return runs


def front_of_seed(out: Path, seed: int, fixed: Sequence[dict[str, Any]], conditioned: Sequence[dict[str, Any]],
                  parts: int) -> dict[str, Any]:
    """By kind of policy: its points, and its hypervolume with the interval. Kept in a file, since it takes a minute."""
    file = out / f"front-{seed}.json"
    if not file.is_file():
        policies = policies_of_seed(out, seed, fixed, conditioned, parts)
        file.write_text(json.dumps(measured_front(out, seed, fixed, policies)))
    front: dict[str, Any] = json.loads(file.read_text())
    print(f"seed {seed}")
    for kind, values in front.items():
        volume = "{:.3f} ({:.3f} to {:.3f})".format(*values["hypervolume"])
        print(f"  {kind:12} hypervolume {volume}  widest gap {values['gap']:.2f}  fragments "
              f"{max(values['fragments']):.1%} at most, {fmean(values['fragments']):.1%} on average", flush=True)
    return front


def policies_of_seed(out: Path, seed: int, fixed: Sequence[dict[str, Any]], conditioned: Sequence[dict[str, Any]],
                     parts: int) -> list[Policy]:
    """Every point of one seed's fronts, not answered yet."""
    prompts = held_out(out)
    own = sorted((run for run in fixed if run["varied"]["repeat"] == seed), key=weight_of)
    ends = [out / run["stages"]["ppo"] / "adapter" for run in (own[-1], own[0])]  # detail alone, conciseness alone
    run, = (run for run in conditioned if run["varied"]["repeat"] == seed)
    corners = [out / run["stages"]["ppo"] / "corners" / name / "adapter" for name in PRINCIPLES]
    policies = [Policy("sweep", weight_of(run), partial(
        answers_of_adapter, out / run["stages"]["ppo"] / "adapter", prompts, seed)) for run in own]
    for part in range(parts + 1):
        weights = (part / parts, 1 - part / parts)
        policies.append(Policy("conditioned", weights[0], partial(
            answers_of_mix, out, corners, weights, prompts, seed)))
    for part in range(1, parts + 1):  # nine points between the ends with the default, as ten runs have nine steps
        weights = (part / (parts + 1), 1 - part / (parts + 1))
        policies += [
            Policy("soup", weights[0], partial(answers_of_mix, out, ends, weights, prompts, seed)),
            Policy("MOD", weights[0], partial(answers_of_mod, ends, weights, prompts, seed))]
    return policies


def weight_of(run: dict[str, Any]) -> float:
    return float(run["varied"][f"principles.{PRINCIPLES[0]}.weight"])


def held_out(out: Path) -> list[Dialogue]:
    file, = (out / "data").glob("*/held_out.jsonl")
    return [row["prompt"] for row in read_jsonl(file)][:PROMPTS]


def measured_front(out: Path, seed: int, fixed: Sequence[dict[str, Any]], policies: Sequence[Policy]) -> dict[str, Any]:
    """Answer with every policy; by kind its points, the hypervolume with its interval, gap and fragments."""
    prompts = held_out(out)
    plain = answers_of_model(base(), prompts, seed)
    kinds: dict[str, dict[str, Any]] = {}
    samples: dict[str, list[Sample]] = {}
    for kind, weight, answer in policies:
        answers = answer()
        outcomes = outcomes_of(prompts, answers, plain)
        values = kinds.setdefault(kind, {"weights": [], "points": [], "fragments": []})
        values["weights"].append(weight)
        values["points"].append(outcomes.mean(axis=0).tolist())
        values["fragments"].append(fmean(is_fragment(answer) for answer in answers))
        samples.setdefault(kind, []).append(Sample(outcomes, "held out"))
    for kind, values in kinds.items():
        values["hypervolume"] = list(hypervolume_interval(samples[kind], (0.0, 0.0), DIRECTIONS))
        values["on_front"] = non_dominated(values["points"], DIRECTIONS)
        values["gap"] = widest_gap(values["points"], values["on_front"])
    return kinds


def outcomes_of(prompts: Sequence[Dialogue], answers: Sequence[str], plain: Sequence[str]) -> NDArray[np.float64]:
    """1 where the rules prefer the answer to the base's, 0 where the base's, a half for a tie, [prompt, principle]."""
    return np.array([[outcome(rules.preference(name, shown_prompt(prompt), answer, other)) for name in PRINCIPLES]
                     for prompt, answer, other in zip(prompts, answers, plain, strict=True)], dtype=float)


def widest_gap(points: Sequence[Sequence[float]], on_front: Sequence[bool]) -> float:
    """The largest distance between neighbours on a front, along it."""
    front = np.array(sorted(tuple(point) for point, is_best in zip(points, on_front, strict=True) if is_best))
    return float(np.linalg.norm(np.diff(front, axis=0), axis=1).max()) if len(front) > 1 else 0.0


def is_fragment(answer: str) -> bool:
    """Whether an answer does not end, or says a word twice in a row."""
    return not re.search(r"[.!?]\s*$", answer) or bool(re.search(r"\b(\w+) \1\b", answer.lower()))


def base() -> LanguageModel:
    return language_model.load("demo-world", torch.device("cpu"))


def answers_of_model(language: LanguageModel, prompts: Sequence[Dialogue], seed: int) -> list[str]:
    settings = Evaluate(max_new_tokens=TOKENS)
    return evaluate.answer(language, prompts, settings, seed, NullReporter(), done=0)


def answers_of_adapter(adapter: Path, prompts: Sequence[Dialogue], seed: int) -> list[str]:
    return answers_of_model(language_model.load_adapter(base(), adapter), prompts, seed)


def answers_of_mix(out: Path, adapters: Sequence[Path], weights: Sequence[float], prompts: Sequence[Dialogue],
                   seed: int) -> list[str]:
    """Those of the adapters mixed by weights."""
    mix = out / "mixes" / f"{adapters[0].resolve().relative_to(out.resolve())}-{weights[0]:.3f}".replace("/", "-")
    if not mix.is_dir():
        mix.parent.mkdir(exist_ok=True)
        mix_policies([Weighted(adapter, weight) for adapter, weight in zip(adapters, weights, strict=True)], mix)
    return answers_of_adapter(mix, prompts, seed)


def answers_of_mod(adapters: Sequence[Path], weights: Sequence[float], prompts: Sequence[Dialogue],
                   seed: int) -> list[str]:
    """Those of the adapters' probabilities mixed, with the random numbers of the others."""
    mixed = MixedLora(base())
    sampling = rollouts.Sampling(TOKENS)
    answers: list[str] = []
    for start in range(0, len(prompts), BATCH):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
        answers += rollouts.texts(mixed.language, generate_mixed(
            mixed, list(adapters), weights, prompts[start:start + BATCH], sampling, generator))
    return answers


def picture(fronts: Sequence[dict[str, Any]]) -> str:
    """All seeds' points on one plane; the line of a kind is the front of all its points together."""
    series = []
    for kind, color in COLORS.items():
        points = [(point[0], point[1]) for front in fronts for point in front[kind]["points"]]
        series.append(Series(LABELS[kind], points, non_dominated(points, DIRECTIONS), color))
    every = [value for kind in series for point in kind.points for value in point]
    low = max(0.0, np.floor(min(every) * 10) / 10)
    high = min(1.0, np.ceil(max(every) * 10) / 10)
    return scatter(f"Detail against conciseness, {len(fronts)} seeds", series,
                   "detail: % of held-out prompts on which it beats the base",
                   "conciseness: % of prompts", low, high)


if __name__ == "__main__":
    sys.exit(main())
