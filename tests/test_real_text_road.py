"""The whole road on real text, with small settings: data, a judge over HTTP, preference models, PPO, chat.

The first 60 rows of hh-rlhf are labelled on two principles through an OpenAI-compatible server that this test starts
(200 on three, through the browser, in e2e/test_real_text.py). The policy is the demo world's: it knows few of the
words, and every line of code is that of a real model.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import servers
from tests.judge_server import JudgeServer, judge_server
from tests.processes import ROOT, clean_environment

HH_FILE = ROOT.parent / "shared" / "data" / "hh_harmless_1500.jsonl.gz"
pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

PRINCIPLES = ("toxicity", "conciseness")


def recipe(source: Path, judge: JudgeServer) -> dict[str, Any]:
    return {
        "name": "Real text",
        "data": {"source": str(source), "held_out": 8},
        "principles": [{"name": name} for name in PRINCIPLES],
        "judge": {"kind": "openai", "model": "rule", "base_url": judge.base_url, "max_pairs": 60, "most_flips": 1,
                  "api_key_env": "CONCORD_JUDGE_TEST_KEY", "concurrency": 8},
        "preference_model": {"epochs": 1, "batch_size": 16, "max_length": 64, "learning_rate": 0.001},
        "sample": {"pairs": "dataset"},
        "ppo": {"steps": 3, "batch_size": 8, "epochs": 1, "max_new_tokens": 12, "sample_prompts": 2, "sample_every": 1},
        "evaluate": {"prompts": 6, "max_new_tokens": 12},
        "device": "cpu",
    }


class Road:
    """A finished run of the command line and what it left behind."""

    def __init__(self, out: Path, judge: JudgeServer, command: list[str], environment: dict[str, str]) -> None:
        self.out, self.judge, self.command, self.environment = out, judge, command, environment

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=560)

    def stage(self, name: str) -> Path:
        return self.out / json.loads((self.out / "stages.json").read_text())[name]

    def events(self, stage: str, kind: str) -> list[dict[str, Any]]:
        lines = (self.stage(stage) / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory):
    if not HH_FILE.exists():
        servers.refuse(f"{HH_FILE.name} is not beside the repository")
    folder = tmp_path_factory.mktemp("road")
    rows = folder / "hh_harmless_60.jsonl"
    with gzip.open(HH_FILE, "rt", encoding="utf-8") as source:
        rows.write_text("".join(line for line, _ in zip(source, range(60), strict=False)), encoding="utf-8")
    with judge_server() as judge:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(rows, judge)))
        command = [sys.executable, "-m", "training", "run", str(folder / "recipe.yaml"), "--out", str(folder / "out")]
        road = Road(folder / "out", judge, command, clean_environment(CONCORD_JUDGE_TEST_KEY="sesame"))
        ran = road.run()
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield road


def test_every_pair_has_a_soft_label_on_every_principle_from_both_orders(road: Road) -> None:
    for principle in PRINCIPLES:
        labels = road.events(f"label:{principle}", "label")
        assert len(labels) >= 45, "60 rows less those with a held-out prompt"
        assert all(label["error"] == "" for label in labels)
        assert all(0 < label["probability"] < 1 and label["p_swapped"] is not None for label in labels)
        assert any(label["order_gap"] > 0.01 for label in labels), "the server leans towards Option A"
    assert road.judge.keys == {"Bearer sesame"}


def test_two_preference_models_learn_from_their_own_labels(road: Road) -> None:
    for principle in PRINCIPLES:
        card = json.loads(next(road.stage(f"preference_model:{principle}").glob("card.json")).read_text())
        assert card["principle"] == principle


def test_ppo_reports_every_step_and_every_principle_once(road: Road) -> None:
    metrics = road.events("ppo", "metric")
    assert [event["step"] for event in metrics] == [1, 2, 3]
    tags = set(metrics[-1]["values"])
    assert all(any(principle in tag for tag in tags) for principle in PRINCIPLES)
    assert road.events("ppo", "sample")


def test_the_policy_that_came_out_can_be_talked_to(road: Road) -> None:
    import torch

    from training.config import DEMO_WORLD
    from training.models import language_model, rollouts

    language = language_model.load(DEMO_WORLD, torch.device("cpu"))
    policy = language_model.load_adapter(language, road.stage("ppo") / "adapter")
    prompt = [{"role": "user", "content": "How do I bake bread?"}]
    ids, mask = rollouts.pad_prompts(policy, [prompt], 12)
    with language_model.merged(policy):
        drawn = rollouts.generate(policy, ids, mask, rollouts.Sampling(12), torch.Generator().manual_seed(1))
    assert drawn.mask.sum() > 0
    assert isinstance(rollouts.texts(policy, drawn)[0], str)


def test_the_evaluation_says_how_sure_it_is(road: Road) -> None:
    report = json.loads((road.stage("evaluate") / "report.json").read_text())
    assert "win_rate" in json.dumps(report)


def test_no_label_is_bought_twice(road: Road) -> None:
    before = road.judge.questions.total()
    assert max(road.judge.questions.values()) == 1
    again = road.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert road.judge.questions.total() == before
