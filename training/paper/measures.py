"""From the folders of the stages to the numbers of the five figures.

Everything is read from the artifacts of the stages; the judge is asked in addition which response is better overall: on
the pairs (unless a person chose) and between the answers of every two policies.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import CONSTITUTION, Scalarization
from training.config.paper_experiment import Arm, repetitions
from training.data.data_files import FileRole
from training.dialogue import Dialogue
from training.paper.overall import Overall
from training.paper.schedule import stage_folders
from training.paper.statistics import Share, share_agreeing, share_right, share_won, turned
from training.quality.intervals import wilson_interval
from training.quality.quality_card import card_of, scores_of
from training.quality.weight_fit import fit
from training.quality.win_rates import TIE, win_rate
from training.reward.scalarization import scalarize
from training.run.artifacts import read_json, read_jsonl
from training.run.pipeline import plan, served_by

MOST_ORDERS = 24
CERTAIN = 1e-6


class Pairs(NamedTuple):
    """The labelled pairs that all preference models scored.

    Attributes:
        digests: of the pairs.
        held_out: whether no preference model learnt from it, [pairs] of bool.
        truth: the probability that `a` is better all in all, by a person or else by the judge; NaN unknown.
        scores: standardised scores by model, each [pairs, 2] of `a` and `b`.
    """

    digests: list[str]
    held_out: NDArray[np.bool_]
    truth: NDArray[np.float64]
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class Experiment:
    """A finished experiment: its arms, its seeds, and where their stages are."""

    arms: list[Arm]
    seeds: Sequence[int]
    files: Mapping[FileRole, Path]
    store: Path
    overall: Overall

    def folders(self, arm: str, seed: int | None = None) -> dict[str, Path]:
        """The folders of an arm's stages by name; without a seed those of the first one."""
        candidate = next(candidate for candidate in self.arms if candidate.name == arm)
        recipe = repetitions(candidate, [self.seeds[0] if seed is None else seed])[0]
        return stage_folders(recipe, self.files, self.store)

    @cached_property
    def names(self) -> list[str]:
        """The recipe's principles that are rewarded."""
        return [choice.name for choice in self.arms[0].recipe.rewarded]

    def model_folders(self, arm: str) -> dict[str, Path]:
        """The folders of the arm's preference models, by what they model."""
        folders = self.folders(arm)
        recipe = next(candidate.recipe for candidate in self.arms if candidate.name == arm)
        return {name: folders[stage] for name, stage in served_by(plan(recipe)).items()}


# Pairs ----------------------------------------------------------------------------------------------------------------


def read_pairs(experiment: Experiment) -> Pairs:
    """Scores by principle, by both baselines' models (under the arm's name), and the truth."""
    folders = experiment.model_folders("linear") | {
        arm: experiment.model_folders(arm)[CONSTITUTION] for arm in ("single_pm", "pooled_pm")}
    rows = {name: {row["pair"]: row for row in scores_of(folder, name)} for name, folder in folders.items()}
    first = rows[experiment.names[0]]
    digests = [digest for digest in first if all(digest in scored for scored in rows.values())]
    scores = {name: torch.tensor([[scored[digest]["z_a"], scored[digest]["z_b"]] for digest in digests])
              for name, scored in rows.items()}
    held_out = np.array([bool(first[digest]["held_out"]) for digest in digests])
    return Pairs(digests, held_out, _truth(experiment, digests), scores)


def _truth(experiment: Experiment, digests: list[str]) -> NDArray[np.float64]:
    path = experiment.files.get("pairs") or experiment.folders("linear")["sample"] / "pairs.jsonl"
    pairs = {pair["digest"]: pair for pair in read_jsonl(path)}
    chosen: dict[str, float | None] = {digest: pairs[digest].get("human") for digest in digests}
    open_ones = [digest for digest in digests if chosen[digest] is None]
    probabilities = experiment.overall.ask([(pairs[digest]["prompt"], pairs[digest]["a"], pairs[digest]["b"])
                                    for digest in open_ones])
    chosen |= dict(zip(open_ones, probabilities, strict=True))
    return np.array([np.nan if (p := chosen[digest]) is None else p for digest in digests], dtype=float)


def model_accuracies(experiment: Experiment, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Figure 1: how well each preference model predicts its own labels, on held-out pairs."""
    accuracies = []
    for arm in arms:
        for name, folder in experiment.model_folders(arm).items():
            card = card_of(folder, name)
            share = Share(card["accuracy"], card["accuracy_low"], card["accuracy_high"], card["decided"])
            accuracies.append({"arm": arm, "model": name, **share.as_json()})
    return accuracies


def objective_accuracies(experiment: Experiment, pairs: Pairs) -> dict[str, Any]:
    """Figure 2: how often each objective's reward is on the side of the truth, on held-out pairs, and the ceiling.

    The ceiling is the linear objective with perfect preference models: the log-odds of the labels in place of scores.
    """
    weights = _weights(experiment)
    has_truth = pairs.held_out & ~np.isnan(pairs.truth)
    truth = pairs.truth[has_truth].tolist()
    names = experiment.names
    stacked = torch.stack([pairs.scores[name][torch.from_numpy(has_truth)] for name in names], dim=2)  # [pairs, 2, K]
    objectives = []
    for arm in experiment.arms:
        if arm.group == "scalarization":
            settings = arm.recipe.scalarization
            rewards = [scalarize(stacked[:, side], weights, settings) for side in (0, 1)]
        elif arm.group == "baseline":
            rewards = list(pairs.scores[arm.name][torch.from_numpy(has_truth)].T)
        elif arm.group == "single principle":
            rewards = list(pairs.scores[arm.recipe.baseline.principle][torch.from_numpy(has_truth)].T)
        else:
            continue
        share = share_right((rewards[0] - rewards[1]).tolist(), truth)
        objectives.append({"arm": arm.name, "title": arm.title, "group": arm.group, **share.as_json()})
    labels = _labels(experiment)
    odds = torch.tensor([[_log_odds(labels[name].get(digest)) for name in names]
                         for digest, chosen in zip(pairs.digests, has_truth, strict=True) if chosen])
    ceiling = share_right(scalarize(odds, weights, Scalarization()).tolist(), truth)
    return {"objectives": objectives, "ceiling": ceiling.as_json()}


def _weights(experiment: Experiment) -> Tensor:
    weights = read_json(experiment.folders("linear")["weights"] / "weights.json")["weights"]
    return torch.tensor([weights[name] for name in experiment.names])


def _labels(experiment: Experiment) -> dict[str, dict[str, float | None]]:
    """Labels by principle and pair."""
    folders = experiment.folders("linear")
    return {name: {row["pair"]: row["probability"] for row in read_jsonl(folders[f"label:{name}"] / "labels.jsonl")}
            for name in experiment.names}


def _log_odds(probability: float | None) -> float:
    p = min(max(0.5 if probability is None else probability, CERTAIN), 1 - CERTAIN)
    return float(np.log(p / (1 - p)))


def agreement(experiment: Experiment, pairs: Pairs) -> dict[str, Any]:
    """Figure 4: how often the labels of two principles, or a principle's and the truth, name the same response."""
    labels: dict[str, Sequence[float]] = {
        name: [0.5 if (p := by_digest.get(digest)) is None else p for digest in pairs.digests]
        for name, by_digest in _labels(experiment).items()}
    labels["overall"] = np.nan_to_num(pairs.truth, nan=0.5).tolist()
    names = list(labels)
    return {"names": names, "cells": {row: {column: share_agreeing(labels[row], labels[column]).as_json()
                                            for column in names} for row in names}}


def ablation(experiment: Experiment, pairs: Pairs) -> list[dict[str, Any]]:
    """Figure 5: accuracy on held-out pairs as principles are dropped one by one, weights fitted again each time.

    The mean over orders (all of them up to four principles, else 24 drawn ones); low and high are the order that does
    worst and the one that does best.
    """
    names = experiment.names
    has_truth = ~np.isnan(pairs.truth)
    differences = np.stack([(pairs.scores[name][:, 0] - pairs.scores[name][:, 1]).numpy() for name in names], axis=1)
    learnt, tested = has_truth & ~pairs.held_out, has_truth & pairs.held_out
    cached: dict[frozenset[int], float] = {}

    def accuracy_of(principles: Sequence[int]) -> float:
        key = frozenset(principles)
        if key not in cached:
            columns = sorted(key)
            weights = fit(differences[learnt][:, columns], pairs.truth[learnt])
            cached[key] = share_right((differences[tested][:, columns] @ np.array(weights)).tolist(),
                                      pairs.truth[tested].tolist()).value
        return cached[key]

    draw = random.Random(0)
    orders = list(itertools.permutations(range(len(names)))) if len(names) <= 4 else [
        tuple(draw.sample(range(len(names)), len(names))) for _ in range(MOST_ORDERS)]
    rows = []
    for dropped in range(len(names)):
        values = [accuracy_of(order[dropped:]) for order in orders]
        rows.append({"dropped": dropped, "value": sum(values) / len(values), "low": min(values), "high": max(values),
                      "orders": len(orders)})
    return rows


# Policies -------------------------------------------------------------------------------------------------------------


def answers(experiment: Experiment, arm: str, whose: str = "policy") -> list[list[str]]:
    """What the arm's policy (or its base) answered: [seed][prompt]."""
    return [[row[whose] for row in read_jsonl(experiment.folders(arm, seed)["evaluate"] / "answers.jsonl")]
            for seed in experiment.seeds]


def held_out_prompts(experiment: Experiment) -> list[Dialogue]:
    return [row["prompt"] for row in read_jsonl(experiment.folders("linear")["evaluate"] / "answers.jsonl")]


def compared(experiment: Experiment, first: list[list[str]], second: list[list[str]]) -> Share:
    """The win rate of one policy's answers, [seed][prompt], over another's on the same prompts."""
    prompts = held_out_prompts(experiment)
    questions = [(prompt, a, b) for first_answers, second_answers in zip(first, second, strict=True)
                 for prompt, a, b in zip(prompts, first_answers, second_answers, strict=True)]
    verdicts = experiment.overall.ask(questions)
    scores = [np.nan if p is None else 0.5 if abs(p - 0.5) <= TIE else float(p > 0.5) for p in verdicts]
    return share_won(np.array(scores).reshape(len(first), len(prompts)))


def win_matrix(experiment: Experiment) -> dict[str, Any]:
    """Figure 3: the win rate of each arm over each other; a cell and its mirror sum to 1."""
    by_arm = {arm.name: answers(experiment, arm.name) for arm in experiment.arms}
    names = list(by_arm)
    cells: dict[str, dict[str, Any]] = {name: {} for name in names}
    for first, second in itertools.combinations(names, 2):
        share = compared(experiment, by_arm[first], by_arm[second])
        cells[first][second], cells[second][first] = share.as_json(), turned(share).as_json()
    return {"names": names, "titles": {arm.name: arm.title for arm in experiment.arms},
            "groups": {arm.name: arm.group for arm in experiment.arms}, "cells": cells}


def against_base(experiment: Experiment) -> dict[str, Any]:
    """The win rate of each arm over the policy that it began as, all in all and on each principle."""
    by_arm: dict[str, Any] = {}
    for arm in experiment.arms:
        share = compared(experiment, answers(experiment, arm.name), answers(experiment, arm.name, "base"))
        reports = [read_json(experiment.folders(arm.name, seed)["evaluate"] / "report.json")
                   for seed in experiment.seeds]
        principles = {}
        for name in experiment.names:
            rates = [report["principles"][name] for report in reports]
            n = sum(rate["n"] for rate in rates)
            won = sum(rate["win_rate"] * rate["n"] for rate in rates)
            principles[name] = Share(won / n if n else win_rate([]).win_rate, *wilson_interval(won, n), n).as_json()
        summaries = [read_json(experiment.folders(arm.name, seed)["ppo"] / "summary.json") for seed in experiment.seeds]
        by_arm[arm.name] = {"title": arm.title, "group": arm.group, **share.as_json(), "principles": principles,
                           "kl": [summary["last"]["kl/mean"] for summary in summaries],
                           "reward": [summary["last"]["reward/total"] for summary in summaries]}
    return by_arm
