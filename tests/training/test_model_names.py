"""A name means the same model everywhere: the demo world's, a folder inside the folder of models, or the hub's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from _pytest.monkeypatch import MonkeyPatch

from tests.training.tiny_models import PROMPTS, Remembering, make_base, make_job, make_recipe
from training.errors import ModelUnavailable
from training.models import language_model
from training.preference_models import load_trunk
from training.run import checks, jobs
from training.run.artifacts import read_json, read_jsonl
from training.run.model_names import ModelHome, locate, models_at
from training.run.pipeline import plan
from training.stages import runner, sample

CPU = torch.device("cpu")


@pytest.fixture
def home(tmp_path: Path) -> ModelHome:
    """A folder of models with `mine` and `team/mine` in it, as the web uses it."""
    (tmp_path / "models" / "team").mkdir(parents=True)
    for name in ("mine", "team/mine"):
        make_base(tmp_path / "models" / name)
    return ModelHome(tmp_path / "models", paths=False)


def test_a_name_is_a_folder_of_models_first_and_the_hubs_otherwise(home: ModelHome) -> None:
    assert home.folder is not None
    assert home.locate("mine") == (home.folder / "mine").resolve()
    assert home.locate("team/mine") == (home.folder / "team" / "mine").resolve()
    assert home.locate(str(home.folder / "mine")) == (home.folder / "mine").resolve()
    assert home.locate("gpt2") is None and home.locate("owner/name") is None
    assert home.locate("demo-world") == ModelHome().locate("demo-world") is not None


@pytest.mark.parametrize("name", ["/etc", "/", ".", "..", "../models/../secret", "./mine", "~", "~/mine", "x\0y",
                                  "a/b/c", "a//b", "-x", "a--b", "team/../../secret", "x" * 500, "mine/../..",
                                  "team/..", "https://host/model", "model.", "C:\\models"])
def test_on_the_web_nothing_outside_the_folder_of_models_is_named(home: ModelHome, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(ModelUnavailable, match="'policy.base' is "):
        home.locate(name, "policy.base")


def test_a_link_out_of_the_folder_of_models_is_not_followed(home: ModelHome, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    assert home.folder is not None
    os.symlink(tmp_path / "secret", home.folder / "owner")
    assert home.locate("owner") is None  # a name of the hub then, never the folder


def test_the_owner_of_a_shell_may_give_a_path(
    tmp_path: Path, tiny_base: Path, monkeypatch: MonkeyPatch
) -> None:
    make_base(tmp_path / "here")
    make_base(tmp_path / "models" / "here")
    monkeypatch.chdir(tmp_path)
    shell = ModelHome(Path("models"))
    assert shell.locate(str(tiny_base)) == tiny_base
    assert shell.locate("./here") == Path("here")
    assert shell.locate("here") == tmp_path / "models" / "here"
    with pytest.raises(ModelUnavailable, match="there is no such folder"):
        shell.locate("./nowhere")
    with pytest.raises(ModelUnavailable, match="Give .*a path that begins with / or ./"):
        shell.locate("runs/of/mine")


def test_a_folder_of_the_working_directory_is_never_taken_for_a_model_of_the_hub(
    home: ModelHome, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    make_base(tmp_path / "cwd" / "gpt2")
    make_base(tmp_path / "cwd" / "owner" / "name")
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("gpt2", "owner/name"):
        hidden = f"a folder '{name}' of the working directory hides"
        with models_at(home), pytest.raises(ModelUnavailable, match=hidden):
            language_model.load(name, CPU)
        with pytest.raises(ModelUnavailable, match=f"Write './{name}'"):
            language_model.load(name, CPU)


def test_every_loader_of_the_engine_looks_in_the_folder_of_models(home: ModelHome) -> None:
    with models_at(home):
        language = language_model.load("mine", CPU)
        assert language.name == "mine"
        assert language_model.load_tokenizer("mine").vocab_size == language.tokenizer.vocab_size
        assert load_trunk("mine", CPU, "fp32").config.hidden_size == 32


def test_a_stage_is_told_where_names_are_looked_up(
    home: ModelHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # no tries of a network that is not there
    recipe = make_recipe(Path("mine"))
    assert recipe.policy.base == "mine"
    made = make_job(recipe, "sample", tmp_path, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    runtime = jobs.runtime_of(recipe, home=home)
    assert ModelHome.from_json(runtime["models"]) == home
    folder = tmp_path / "stage"
    stage = next(stage for stage in plan(recipe) if stage.kind == "sample")
    jobs.prepare_stage(stage, "f" * 64, folder, {}, made.files, runtime)
    assert runner.run_stage(folder) == jobs.DONE
    assert list(read_jsonl(folder / "pairs.jsonl"))
    assert read_json(folder / "job.json")["settings"] == made.settings  # the identity's settings hold the name alone
    with pytest.raises(ModelUnavailable, match="hub"):
        sample.run(made, folder, Remembering())  # without it the name is the hub's
    assert locate("mine") is None


@pytest.mark.parametrize(("field", "sections"), [
    ("policy.base", {"policy": {"base": "/etc"}}),
    ("preference_model.base", {"preference_model": {"base": "/etc", "max_length": 64}}),
    ("judge.model", {"judge": {"kind": "local", "model": "/etc"}, "data": {"source": "x.jsonl"}}),
])
def test_all_models_of_a_recipe_are_looked_at_before_it_runs(
    home: ModelHome, field: str, sections: dict[str, Any]
) -> None:
    with pytest.raises(ModelUnavailable, match=f"'{field}' is '/etc'"):
        sections = {"preference_model": {"base": "mine", "max_length": 64}} | sections
        checks.check_run(make_recipe(Path("mine"), **sections), home=home)
