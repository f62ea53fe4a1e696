"""What a team takes home from a run: labels with people's decisions, models, a card; and that it is the team's own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.test import Client
from django.utils import timezone

from tests.training.bare_process import in_a_bare_process
from tests.training.test_exporting_models import finished_ppo, finished_preference_model
from tests.training.tiny_models import PROMPTS
from tests.webapp.runs.seeds import fill, finish, make_run
from training.config import JudgeSettings, shipped_recipe
from training.judges.prompt import prompt_version
from training.models import language_model
from training.run.artifacts import kept_policy, write_jsonl
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair, PairText
from webapp.labels.services import label_override, label_reject
from webapp.principles.models import PrincipleVersion
from webapp.runs.downloads.services import LOST, export_request
from webapp.runs.models import ModelExport, Run, Stage
from workers.exporting import make_export

pytestmark = pytest.mark.django_db
S = ModelExport.Status


@pytest.fixture
def run(team: Team, owner: User) -> tuple[Run, dict[str, Stage]]:
    """A finished run of the demo preset."""
    made, stages = make_run(team, owner, until="", status=Run.Status.SUCCEEDED)
    fill(stages, 40)
    finish(stages)
    for stage in stages.values():
        if stage.kind == "label":
            statement = newest_wording(team, stage.principle).statement
            Stage.objects.filter(pk=stage.pk).update(settings={"statement": statement, "judge": {"kind": "rule"}})
        stage.folder.mkdir(parents=True)
    return made, stages


def newest_wording(team: Team, principle: str) -> PrincipleVersion:
    version = PrincipleVersion.objects.filter(principle__team=team, principle__name=principle).first()
    assert version is not None
    return version


@pytest.fixture
def labels(team: Team, run: tuple[Run, dict[str, Stage]]) -> list[Label]:
    """Three pairs of the run, each labelled on two principles; and one more, labelled for another run."""
    made = []
    for name in ("toxicity", "factuality"):
        write_jsonl(run[1][f"label:{name}"].folder / "labels.jsonl", ({"pair": f"{n:032x}"} for n in range(3)))
    for number in range(4):
        pair = Pair.objects.create(team=team, digest=f"{number:032x}", excerpt="Where?", human=1.0 if number else None)
        prompt = [{"role": "user", "content": f"Where is Avela, “{number}”?"}]
        PairText.objects.create(pair=pair, prompt=prompt,
                                response_a=f"North {number}.", response_b="Südlich.\n\nMaybe.")
        for name in ("toxicity", "factuality"):
            made.append(Label.objects.create(
                team=team, pair=pair, principle_version=newest_wording(team, name), judge="rule",
                prompt_version=prompt_version(JudgeSettings()),
                probability=0.75, p_shown=0.7, p_swapped=0.8, order_gap=0.1, confidence=0.5))
    return made


def body(response: Any) -> bytes:
    """All of a streamed answer."""
    assert isinstance(response, StreamingHttpResponse) and response.status_code == 200

    async def collected() -> bytes:
        parts: Iterable[bytes] = [part async for part in response]  # type: ignore[union-attr]
        return b"".join(parts)

    return async_to_sync(collected)()


def members(response: Any) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(body(response)))


def test_policies_that_were_kept_on_the_way_are_listed_and_each_is_an_archive(
        owner_client: Client, stranger_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    made, stages = run
    Run.objects.filter(pk=made.pk).update(recipe=made.recipe | {"ppo": made.recipe["ppo"] | {"keep_every": 20}})
    for step in (20, 40):
        folder = kept_policy(stages["ppo"].folder, step) / "adapter"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"x" * step)
    page = owner_client.get(f"/runs/{made.pk}/downloads/").content.decode()
    assert f'/runs/{made.pk}/downloads/step-20.zip"' in page and f'/runs/{made.pk}/downloads/step-40.zip"' in page
    archive = members(owner_client.get(f"/runs/{made.pk}/downloads/step-40.zip"))
    assert archive.read("adapter/adapter_model.safetensors") == b"x" * 40
    assert {"README.md", "recipe.yaml", "base/config.json"} <= set(archive.namelist()), "the demo world is on no hub"
    assert owner_client.get(f"/runs/{made.pk}/downloads/step-30.zip").status_code == 404
    assert stranger_client.get(f"/runs/{made.pk}/downloads/step-40.zip").status_code == 404


def test_the_corners_of_a_conditioned_policy_come_with_its_adapter(
        owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    made, stages = run
    Run.objects.filter(pk=made.pk).update(recipe=made.recipe | {"ppo": made.recipe["ppo"] | {"keep_every": 20}})
    for folder, content in ((stages["ppo"].folder, b"last"), (kept_policy(stages["ppo"].folder, 20), b"kept")):
        for part in ("adapter", "corners/toxicity/adapter"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / "adapter_model.safetensors").write_bytes(content)
    for name, content in (("adapter", b"last"), ("step-20", b"kept")):
        archive = members(owner_client.get(f"/runs/{made.pk}/downloads/{name}.zip"))
        assert archive.read("corners/toxicity/adapter/adapter_model.safetensors") == content


def test_labels_are_rows_with_their_provenance_and_with_what_people_decided(
        owner_client: Client, owner: User, run: tuple[Run, dict[str, Stage]], labels: list[Label]) -> None:
    label_override(label=labels[1], probability=0.0, by=owner)
    label_reject(label=labels[2], by=owner)
    content = body(owner_client.get(f"/runs/{run[0].pk}/downloads/labels.jsonl"))
    rows = [json.loads(line) for line in content.splitlines()]
    assert [(row["principle"], row["pair"][-1]) for row in rows] == [
        (name, str(number)) for name in ("factuality", "toxicity") for number in range(3)]
    assert [row["decided_probability"] for row in rows] == [0.0, 0.75, 0.75, 0.75, None, 0.75]
    assert [row["review"] for row in rows] == ["overridden", "open", "open", "open", "rejected", "open"]
    overridden = rows[0]
    assert overridden["reviewed_by"] == "owner" and overridden["reviewed_at"] and rows[1]["reviewed_by"] is None
    answers = ("probability", "probability_a_first", "probability_b_first")
    assert [overridden[key] for key in answers] == [0.75, 0.7, 0.8]
    assert rows[0]["response_b"] == "Südlich.\n\nMaybe." and rows[5]["human_preference"] == 1.0
    assert rows[3]["judge"] == "rule" and "toxic" in rows[3]["statement"]


def test_parquet_holds_the_same_rows_for_plain_datasets(
        owner_client: Client, run: tuple[Run, dict[str, Stage]], labels: list[Label], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.runs.downloads.label_rows.BATCH", 4)  # two row groups
    address = f"/runs/{run[0].pk}/downloads/labels"
    (tmp_path / "labels.parquet").write_bytes(body(owner_client.get(f"{address}.parquet")))
    code = ("import sys, datasets; rows = datasets.load_dataset('parquet', data_files=sys.argv[1], split='train', "
            "cache_dir=sys.argv[2]); rows.to_json(sys.argv[3]); print(len(rows))")
    done = subprocess.run([sys.executable, "-I", "-c", code, str(tmp_path / "labels.parquet"), str(tmp_path / "cache"),
                           str(tmp_path / "out.jsonl")], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "6", done.stderr
    expected = [json.loads(line) for line in body(owner_client.get(f"{address}.jsonl")).splitlines()]
    loaded = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    moments = ("labelled_at", "reviewed_at")
    assert [{key: value for key, value in row.items() if key not in moments} for row in loaded] == [
        {key: value for key, value in row.items() if key not in moments} for row in expected]


def test_a_run_without_labels_gives_an_empty_file_with_its_columns(
        owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(body(owner_client.get(f"/runs/{run[0].pk}/downloads/labels.parquet"))))
    assert table.num_rows == 0 and "decided_probability" in table.column_names


def test_the_card_names_data_judge_wordings_weights_curves_and_win_rates(
        owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    card = owner_client.get(f"/runs/{run[0].pk}/downloads/README.md").content.decode()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for choice in shipped_recipe("demo").principles:
        assert f"| {choice.name} | Which response is {choice.wording}? |" in card
    for words in ("| all principles together | 81.0% | 76.0% to 86.0% | 300 |", "demo-world: at most 4,000 rows",
                  "rules of the demo world, asked about each pair in both orders", "Scalarization: linear.",
                  "| +0.400 | 0.", "| step | reward | KL to the base | length |", "PPO: 60 phases of 64 responses"):
        assert words in card, words
    assert card.count("\n| 40 | ") == 1, "the last step of the curve"


@pytest.mark.django_db(transaction=True)
@pytest.mark.once
def test_a_policy_is_prepared_by_a_worker_and_loads_in_plain_transformers(
        owner_client: Client, run: tuple[Run, dict[str, Stage]], sent: list[tuple[str, tuple[Any, ...], str]],
        tmp_path: Path) -> None:
    from tests.training.tiny_models import make_base, make_preference_model
    from training.run.artifacts import write_json

    made, stages = run
    base = make_base(tmp_path / "base")
    write_json(tmp_path / "inputs" / "weights.json", {"weights": {"factuality": 0.75, "toxicity": 0.25}})
    inputs = {f"preference_model:{name}": make_preference_model(tmp_path / name, base, seed=seed)
              for seed, name in enumerate(("factuality", "toxicity"))} | {"weights": tmp_path / "inputs"}
    finished_ppo(stages["ppo"].folder, base, inputs)
    page = f"/runs/{made.pk}/downloads/"
    assert "Prepare" in owner_client.get(page).content.decode()
    assert owner_client.get(f"{page}ppo.zip").status_code == 404
    for _ in range(2):  # a second click starts no second one
        assert owner_client.post(f"{page}ppo/export/").status_code == 302
    export = ModelExport.objects.get()
    assert sent == [("workers.export_model", (export.pk,), "jobs")]
    assert "in progress" in owner_client.get(page).content.decode()
    make_export(export.pk)
    export.refresh_from_db()
    assert (export.status, export.cause) == (S.DONE, "")
    archive = members(owner_client.get(f"{page}ppo.zip"))
    assert {"README.md", "recipe.yaml", "policy/config.json", "policy/model.safetensors"} <= set(archive.namelist())
    archive.extractall(tmp_path / "home")
    ids = language_model.encode_prompt(language_model.load_tokenizer(str(base)), PROMPTS[0])
    assert len(in_a_bare_process("AutoModelForCausalLM", tmp_path / "home" / "policy", ids)["logits"][0]) == len(ids)
    adapter = members(owner_client.get(f"{page}adapter.zip"))
    assert {"adapter/adapter_model.safetensors", "base/model.safetensors"} <= set(adapter.namelist())


@pytest.mark.django_db(transaction=True)
def test_an_export_that_fails_says_why_and_can_be_tried_again(
        owner: User, owner_client: Client, run: tuple[Run, dict[str, Stage]],
        sent: list[tuple[str, tuple[Any, ...], str]]) -> None:
    made, stages = run
    export = export_request(stage=stages["ppo"], user=owner)
    make_export(export.pk)  # the stage's folder is empty
    make_export(export.pk)  # a second delivery does nothing
    page = owner_client.get(f"/runs/{made.pk}/downloads/").content.decode()
    assert "There is no job.json in" in page and "Try again" in page
    assert export_request(stage=stages["ppo"], user=owner).status == S.QUEUED
    assert len(sent) == 2


def test_an_export_whose_worker_died_can_be_asked_for_again(
        owner: User, run: tuple[Run, dict[str, Stage]], sent: list[tuple[str, tuple[Any, ...], str]]) -> None:
    stage = run[1]["ppo"]
    export = export_request(stage=stage, user=owner)
    ModelExport.objects.filter(pk=export.pk).update(status=S.RUNNING, seen_at=timezone.now() - LOST / 2)
    assert export_request(stage=stage, user=owner).status == S.RUNNING
    ModelExport.objects.filter(pk=export.pk).update(seen_at=timezone.now() - LOST - timedelta(seconds=1))
    assert export_request(stage=stage, user=owner).status == S.QUEUED


def test_the_page_takes_as_many_queries_for_many_models(
        owner_client: Client, run: tuple[Run, dict[str, Stage]], django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(9):
        page = owner_client.get(f"/runs/{run[0].pk}/downloads/").content.decode()
    assert page.count("preference model, as a classifier") == 4


def test_a_run_that_is_not_done_offers_what_it_has(team: Team, owner: User, owner_client: Client) -> None:
    made, _ = make_run(team, owner, until="ppo")
    page = owner_client.get(f"/runs/{made.pk}/downloads/").content.decode()
    assert "The policy is not trained yet" in page and page.count("Prepare") == 4
    assert owner_client.post(f"/runs/{made.pk}/downloads/ppo/export/").status_code == 404
    early, _ = make_run(team, owner, until="sample")
    page = owner_client.get(f"/runs/{early.pk}/downloads/").content.decode()
    assert "No model is trained yet" in page and "No principle is labelled to the end yet" in page


@pytest.mark.once
def test_a_preference_model_is_prepared_too(
        owner: User, owner_client: Client, run: tuple[Run, dict[str, Stage]], tmp_path: Path,
        sent: list[tuple[str, tuple[Any, ...], str]]) -> None:
    from tests.training.tiny_models import make_base

    made, stages = run
    finished_preference_model(stages["preference_model:toxicity"].folder, make_base(tmp_path / "base"))
    make_export(export_request(stage=stages["preference_model:toxicity"], user=owner).pk)
    archive = members(owner_client.get(f"/runs/{made.pk}/downloads/preference_model:toxicity.zip"))
    assert "preference_model-toxicity/concord.json" in archive.namelist()
