"""A preference model on a base of any family: what it scores when loaded is what it scored when it was trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.training.test_preference_model_architectures import PROMPT, RESPONSES, plainly, random_model
from tests.training.tiny_families import FAMILIES, make_family
from training import preference_models as pm
from training.preference_models import scoring

BASES = [name for name in FAMILIES if name != "rwkv"]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    home = tmp_path_factory.mktemp("bases")
    return cache(lambda name: make_family(name, home / name))


@pytest.mark.parametrize("way", ["copies", "stacked"])
@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("name", BASES)
def test_separate_adapters_score_as_they_were_trained(
    name: str, layers: int, way: str, family: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = family(name)
    models = [random_model(tmp_path / str(n), base, n, layers=layers) for n in range(2)]
    monkeypatch.setattr(scoring, "SMALL", 10**9 if way == "copies" else 0)
    loaded = pm.PreferenceModels.load({f"p{n}": tmp_path / str(n) for n in range(2)})
    expected = torch.stack([plainly(model, base) for model in models], dim=1)
    torch.testing.assert_close(loaded.score_raw([PROMPT] * len(RESPONSES), RESPONSES), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0
