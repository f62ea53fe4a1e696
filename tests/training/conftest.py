"""Tiny models, and a fork server that has torch: made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.tiny_models import make_base, make_preference_model
from training.run.artifacts import write_json
from training.run.stage_server import StageServer, is_possible


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random policy of some ten thousand parameters."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def ppo_inputs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Path]:
    """What a ppo stage reads: two preference models and weights 3 to 1."""
    folder = tmp_path_factory.mktemp("inputs")
    write_json(folder / "weights" / "weights.json", {"weights": {"factuality": 0.75, "toxicity": 0.25}})
    return {
        "preference_model:factuality": make_preference_model(folder / "factuality", tiny_base, seed=1),
        "preference_model:toxicity": make_preference_model(folder / "toxicity", tiny_base, seed=2),
        "weights": folder / "weights",
    }


@pytest.fixture(scope="session")
def stage_server() -> Iterator[StageServer]:
    """It imports torch for seconds when the first stage is asked for."""
    assert is_possible()
    server = StageServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny tensors: a second thread only waits, and sums come out in one order."""
    torch.set_num_threads(1)
