"""A backup brings everything back, also into another kind of database, and never mixes with what is there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django.fixtures import Settings

from tests.conftest import logged_in
from tests.webapp.runs.seeds import add_points, fill, make_run
from webapp.accounts.models import Team, User
from webapp.accounts.services import team_create
from webapp.judges.keys import saved_key
from webapp.judges.models import Connection
from webapp.judges.services import connection_create
from webapp.labels.models import Label, Pair, PairText
from webapp.labels.services import label_override
from webapp.principles.models import PrincipleVersion
from webapp.runs.models import MetricChunk, Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def work(team: Team, owner: User, settings: Settings) -> Run:
    """A run with curves, a corrected label, a judge with a key, and files."""
    run, stages = make_run(team, owner, name="Mein Lauf “1”")
    fill(stages, 20)
    add_points(stages["ppo"], "policy/loss", [21, 22], [float("nan"), -1e300])
    stages["ppo"].folder.mkdir(parents=True)
    (stages["ppo"].folder / "events.jsonl").write_text('{"kind": "log"}\n')
    (stages["ppo"].folder / "lock").touch()
    settings.UPLOADS.mkdir(parents=True, exist_ok=True)
    (settings.UPLOADS / "data.bin").write_bytes(bytes(range(256)))
    pair = Pair.objects.create(team=team, digest="a" * 32, excerpt="Where?")
    PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": "Wo?"}], response_a="Dort.", response_b="")
    version = PrincipleVersion.objects.filter(principle__team=team).first()
    label = Label.objects.create(team=team, pair=pair, principle_version=version, judge="rule", prompt_version="1",
                                 probability=0.7, p_shown=0.7, p_swapped=0.7, order_gap=0, confidence=0.4)
    label_override(label=label, probability=0.0, by=owner)
    connection_create(team=team, user=owner, name="judge", kind="server", base_url="http://127.0.0.1:9/v1", model="m",
                      key="sk-secret-key")
    return run


def everything(run: Run) -> list[Any]:
    """What a person would miss."""
    ppo = run.uses.get(name="ppo").stage
    chunks = MetricChunk.objects.filter(stage=ppo).order_by("tag", "index").values_list("tag", "steps", "values")
    files = {path.name: path.read_bytes() for path in sorted(ppo.folder.glob("*")) if path.suffix == ".jsonl"}
    return [run.name, run.recipe, run.created_by.username if run.created_by else None,
            [(tag, bytes(steps), bytes(values)) for tag, steps, values in chunks],
            list(Label.objects.values_list("review", "corrected_probability", "reviewed_by__username")),
            list(Label.objects.get().changes.values_list("before", "after", "by__username")),
            list(PairText.objects.values_list("prompt", "response_a")), files,
            list(run.team.members.values_list("username", flat=True))]


def test_everything_comes_back(work: Run, owner: User, tmp_path: Path, settings: Settings,
                               capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(work)
    call_command("backup", tmp_path / "backup.tar")
    assert "rows" in capsys.readouterr().out
    call_command("flush", interactive=False, verbosity=0)
    settings.ARTIFACTS, settings.UPLOADS = tmp_path / "new" / "artifacts", tmp_path / "new" / "uploads"
    call_command("restore", tmp_path / "backup.tar")
    run = Run.objects.get(name=work.name)
    assert everything(run) == before
    assert (settings.UPLOADS / "data.bin").read_bytes() == bytes(range(256))
    judge = Connection.objects.get()
    assert saved_key(team=judge.team, judge=judge.settings()) == "sk-secret-key"
    page = Client()
    assert page.post("/login/", {"username": "owner", "password": "owner-password"}).status_code == 302
    assert page.get(f"/runs/{run.pk}/").status_code == 200
    team_create(name="After it", user=User.objects.get(username="owner"))  # new rows get free keys


def test_a_backup_holds_no_secret(work: Run, tmp_path: Path, settings: Settings) -> None:
    call_command("backup", tmp_path / "backup.tar")
    content = (tmp_path / "backup.tar").read_bytes()
    assert b"sk-secret-key" not in content and settings.SECRET_KEY.encode() not in content
    with tarfile.open(tmp_path / "backup.tar") as archive:
        names = archive.getnames()
        rows = archive.extractfile("rows.jsonl")
        assert rows is not None
        models = {json.loads(line)["model"] for line in rows}
    assert "uploads/data.bin" in names and not any(name.endswith("lock") for name in names)
    assert "sessions.session" not in models and "accounts.user" in models


def test_what_is_there_is_replaced_only_when_that_is_said(work: Run, owner: User, tmp_path: Path) -> None:
    call_command("backup", tmp_path / "backup.tar")
    later, _ = make_run(work.team, owner, name="Later")
    with pytest.raises(CommandError, match="--replace"):
        call_command("restore", tmp_path / "backup.tar")
    assert Run.objects.filter(name="Later").exists()
    session = logged_in(owner)
    call_command("restore", tmp_path / "backup.tar", replace=True)
    assert not Run.objects.filter(name="Later").exists() and Run.objects.filter(name=work.name).exists()
    assert session.get("/runs/").status_code == 302, "sessions are not kept"


def test_a_backup_is_never_written_over(work: Run, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    target.write_text("mine")
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", target)
    assert target.read_text() == "mine" and list(tmp_path.glob(".backup*")) == []
    with pytest.raises(CommandError, match="does not exist"):
        call_command("backup", tmp_path / "nowhere" / "backup.tar")


def archive_of(path: Path, **members: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_what_is_no_backup_is_refused_and_nothing_is_touched(work: Run, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("hello")
    manifest = json.dumps({"format": 1, "migrations": ["runs.9999_from_the_future"], "rows": {}, "files": {}})
    for path, reason in (
            (tmp_path / "text.tar", "no backup"), (tmp_path / "missing.tar", "cannot be read"),
            (archive_of(tmp_path / "empty.tar", readme="x"), "no complete backup"),
            (archive_of(tmp_path / "old.tar", backup_json='{"format": 9}', rows_jsonl=""), "format 9"),
            (archive_of(tmp_path / "new.tar", backup_json=manifest, rows_jsonl=""), "newer version")):
        with pytest.raises(CommandError, match=reason):
            call_command("restore", path, replace=True)
    assert Run.objects.filter(pk=work.pk).exists()
