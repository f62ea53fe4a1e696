"""A stranger sees nothing of a team, on any address of the site: pages, files, sockets, the admin, the Gradio pane.

The addresses are taken from the URL resolver, so that a new page is walked as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.conftest import logged_in
from tests.webapp.arena.answers import make_arena
from tests.webapp.runs.seeds import fill, make_run
from tests.webapp.runs.test_rollouts_of_a_run import content_of, keep
from tests.webapp.runs.test_rollouts_of_a_run import row as rollout
from webapp.accounts.invitations import invitation_create
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, Ballot
from webapp.calibration.models import CalibrationCheck, CalibrationItem, CalibrationSet
from webapp.datasets.models import (
    Curation,
    Dataset,
    DatasetProfile,
    DatasetRow,
    DatasetText,
    Draft,
    EditedRow,
    ExcludedRow,
    RejectedRow,
    RowWords,
)
from webapp.fronts.models import PointAnswer, PolicyFront, PolicyPoint
from webapp.judges.models import Comparison, Connection
from webapp.judges.services import connection_create
from webapp.labels.models import AspectUse, BulkAction, Label, Pair, PairText
from webapp.playground.models import Answer, ChatVote, Conversation, PolicyMix, Turn
from webapp.principles.models import Principle, PrincipleVersion
from webapp.review.models import ReviewAssignment, ReviewDecision, ReviewItem, ReviewOutcome
from webapp.runs.models import HeadToHead, HeadToHeadSide, Pace, Run, SavedView
from webapp.sweeps.models import Sweep, SweepRun

pytestmark = pytest.mark.once  # who may see what does not depend on the database

SECRET = "secret-of-the-team"
FOR_EVERYBODY = {"login", "theme", "logout", "admin:login", "join"}  # nothing of a team is on them
SHUT_BY_MODEL = {"accounts", "auth", "admin", "sessions", "contenttypes", "axes"}  # models that no reviewer may see


@dataclass(frozen=True)
class Address:
    """An address of the site: its name, and the names of what is variable in it."""

    name: str
    variables: tuple[str, ...]

    def path(self, rows: dict[str, Any]) -> str:
        return reverse(self.name, kwargs={variable: self._value(variable, rows) for variable in self.variables})

    def _value(self, variable: str, rows: dict[str, Any]) -> Any:
        """The number of the team's thing that this address is about."""
        space, _, name = self.name.rpartition(":")
        if variable == "app_label":
            return "labels"
        if variable in {"number", "step"}:
            return 1
        if variable == "url":
            return "labels/label/"
        if variable in {"name", "form", "ending", "secret"}:
            return {"name": "preference_model:toxicity", "form": "jsonl", "ending": "csv",
                    "secret": "no-invitation"}[variable]
        if space == "admin":
            return rows["pair" if "_pair_" in name else "label"]
        if self.name in {"member_remove", "member_role", "invitation_withdraw"}:
            return rows["invitation" if self.name == "invitation_withdraw" else "member"]
        kinds = {"runs": "run", "principles": "principle", "datasets": "dataset", "labels": "label", "judges": "judge",
                 "playground": "conversation", "sweeps": "sweep", "arena": "arena", "fronts": "front",
                 "calibration": "set", "review": "assignment"}
        about = name.partition("_")[0]  # judges:run_steer is about a run
        own_kinds = {"pair", "run", "principle", "comparison", "bulk", "view", "mix", "set", "check", "head"}
        kind = about if about in own_kinds else kinds.get(space, "")
        assert kind and variable == "pk", f"teach this test what {variable!r} is in {self.name}"
        return rows[kind]


def addresses(patterns: list[Any] | None = None, space: str = "") -> Iterator[Address]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from addresses(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern) and pattern.name:
            route = pattern.pattern
            variables = route.converters or getattr(route, "regex", None) and route.regex.groupindex or {}
            yield Address(f"{space}{pattern.name}", tuple(variables))


@pytest.fixture
def rows(team: Team, owner: User) -> dict[str, Any]:
    """One of everything, each with the secret in its name and its texts."""
    run, stages = make_run(team, owner, name=SECRET)
    fill(stages, steps=4)
    keep(stages["ppo"].folder, [rollout(1, SECRET, 0.5, 1.0)])
    principle = Principle.objects.create(team=team, name=SECRET, description=SECRET)
    version = PrincipleVersion.objects.create(principle=principle, number=1, statement=SECRET, created_by=owner)
    dataset = Dataset.objects.create(team=team, name=SECRET, status=Dataset.Status.READY, rows_good=1, rows_bad=1,
                                     rows_read=2, created_by=owner, aspects={"honesty": 1}, ratings_digest="d")
    row = DatasetRow.objects.create(dataset=dataset, number=1)
    DatasetText.objects.create(row=row, prompt=[{"role": "user", "content": SECRET}], chosen=SECRET, rejected="no")
    RowWords.objects.create(dataset=dataset, number=1, words=SECRET)
    draft = Draft.objects.create(base=dataset)
    EditedRow.objects.create(draft=draft, number=1, prompt=[{"role": "user", "content": SECRET}], chosen=SECRET,
                             rejected="no", words=SECRET)
    RejectedRow.objects.create(dataset=dataset, number=2, reason=SECRET)
    DatasetProfile.objects.create(dataset=dataset, status="failed", error=SECRET)
    Curation.objects.create(base=dataset, status="done", rule={"kind": "merge"}, sentence=SECRET, rows_added=1)
    AspectUse.objects.create(team=team, dataset=dataset, aspect="honesty", principle=principle)
    pair = Pair.objects.create(team=team, digest="d" * 32, dataset=dataset, excerpt=SECRET)
    PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": SECRET}], response_a=SECRET, response_b="b")
    label = Label.objects.create(team=team, pair=pair, principle_version=version, judge=SECRET, prompt_version="1",
                                 probability=0.7, p_shown=0.7, p_swapped=0.7, order_gap=0, confidence=0.4)
    judge = connection_create(team=team, user=owner, name=SECRET, kind="server", base_url="http://127.0.0.1:9/v1",
                              model=SECRET, key=SECRET)
    comparison = Comparison.objects.create(team=team, principle=principle, statement_a=SECRET, statement_b=SECRET,
                                           judge=judge.settings().model_dump(mode="json"), judge_title=SECRET)
    bulk = BulkAction.objects.create(team=team, by=owner, kind="reject", batch="b" * 32, status="done", changed=1,
                                     message=SECRET)
    view = SavedView.objects.create(team=team, name=SECRET, query="?q=a")
    conversation = Conversation.objects.create(team=team, owner=owner, title=SECRET, name_a=SECRET, name_b=SECRET)
    turn = Turn.objects.create(conversation=conversation, position=1, prompt=SECRET)
    Answer.objects.create(turn=turn, side=0, text=SECRET)
    sweep = Sweep.objects.create(team=team, name=SECRET, recipe=run.recipe, created_by=owner)
    SweepRun.objects.create(team=team, sweep=sweep, number=1, varied={"name": SECRET}, digest="d", run=run)
    calibration_set = CalibrationSet.objects.create(team=team, name=SECRET, created_by=owner)
    CalibrationItem.objects.create(set=calibration_set, pair=pair, principle=principle, choice=1.0)
    check = CalibrationCheck.objects.create(team=team, set=calibration_set, judge={"kind": "rule"}, judge_title=SECRET,
                                            wordings={str(principle.pk): SECRET}, status="failed")
    mix = PolicyMix.objects.create(team=team, name=SECRET, parts=[[f"tuned:{run.pk}", 1.0]])
    arena = make_arena(team, owner, name=SECRET)
    head = HeadToHead.objects.create(team=team, judge={}, judge_title=SECRET, questions=[], prompts=1, cause=SECRET)
    HeadToHeadSide.objects.create(head_to_head=head, run=run, place=0, title=SECRET)
    front = PolicyFront.objects.create(team=team, name=SECRET, run=run, judge={}, judge_title=SECRET, prompts=1, seed=0,
                                       questions=[{"name": "overall"}], temperature=1, max_new_tokens=1, cause=SECRET)
    point = PolicyPoint.objects.create(front=front, place=0, kind="run", label=SECRET, parts=[[f"tuned:{run.pk}", 1.0]])
    PointAnswer.objects.create(point=point, prompt=0, text=SECRET)
    assignment = ReviewAssignment.objects.create(team=team, name=SECRET, per_person=1, created_by=owner)
    ReviewItem.objects.create(team=team, assignment=assignment, label=label, user=owner, position=0)
    return {"team": team, "sweep": sweep.pk, "conversation": conversation.pk, "run": run.pk, "principle": principle.pk,
            "dataset": dataset.pk, "pair": pair.pk, "view": view.pk, "mix": mix.pk, "arena": arena.pk,
            "set": calibration_set.pk, "check": check.pk, "head": head.pk, "front": front.pk,
            "assignment": assignment.pk, "bulk": bulk.pk, "label": label.pk, "judge": judge.pk,
            "member": team.memberships.get(user=owner).pk, "comparison": comparison.pk,
            "invitation": invitation_create(team=team, user=owner, places=1)[0].pk}


def state_of(rows: dict[str, Any]) -> list[Any]:
    """What a stranger's requests might have changed."""
    team = rows["team"]
    return [
        list(Run.objects.of(team).values("pk", "status", "name", "place", "paused")),
        list(Principle.objects.of(team).values("pk", "archived", "name")),
        list(PrincipleVersion.objects.filter(principle__team=team).values("pk", "statement")),
        list(Dataset.objects.of(team).values("pk", "status", "name")),
        list(Draft.objects.filter(base__team=team).values("pk", "changed_at")),
        list(DatasetProfile.objects.values("pk", "status")), list(Curation.objects.values("pk", "status")),
        list(ExcludedRow.objects.values("number")), list(EditedRow.objects.values("number", "chosen")),
        list(team.memberships.values("pk", "user", "role")), list(team.invitations.values("pk", "places")),
        list(Label.objects.of(team).values("pk", "review", "corrected_probability")),
        list(AspectUse.objects.of(team).values("pk", "aspect", "principle", "lower_is_better")),
        list(BulkAction.objects.of(team).values("pk", "hidden", "status")),
        list(Connection.objects.of(team).values("pk", "name", "sealed_key", "tested_at")),
        list(Conversation.objects.of(team).values("pk", "title")), list(ChatVote.objects.values("pk", "outcome")),
        list(PolicyMix.objects.of(team).values("pk", "name")),
        list(CalibrationSet.objects.of(team).values("pk", "name")),
        list(CalibrationCheck.objects.of(team).values("pk", "status")),
        list(Sweep.objects.of(team).values("pk", "name", "paused", "at_a_time")),
        list(SweepRun.objects.of(team).values("pk", "status")),
        list(Arena.objects.of(team).values("pk", "status", "is_open", "served")),
        list(Ballot.objects.values("pk", "outcome")),
        list(ReviewAssignment.objects.of(team).values("pk", "canceled_at")),
        list(ReviewItem.objects.of(team).values("pk", "state")), list(ReviewOutcome.objects.of(team).values("pk")),
        list(ReviewDecision.objects.values("pk")),
        list(Comparison.objects.of(team).values("pk", "status")), list(Pace.objects.of(team).values("pk")),
        list(SavedView.objects.of(team).values("pk", "name", "query")),
        list(HeadToHead.objects.of(team).values("pk", "status")),
        list(PolicyFront.objects.of(team).values("pk", "status")),
    ]


def text_of(answer: Any) -> str:
    content = content_of(answer) if isinstance(answer, StreamingHttpResponse) and answer.is_async else b"".join(answer)
    return content.decode(errors="replace")


def test_the_walk_finds_the_addresses() -> None:
    names = {address.name for address in addresses()}
    assert {"runs:detail", "runs:csv", "datasets:download", "labels:label", "principles:edit", "playground:page",
            "admin:labels_label_change"} <= names


@pytest.mark.django_db
def test_a_member_reaches_every_address(rows: dict[str, Any], teammate: User) -> None:
    """Otherwise the 404s below would prove nothing."""
    teammate.is_staff = True
    teammate.save()
    client = logged_in(teammate)
    hidden = [address.name for address in addresses() if address.variables and address.name not in FOR_EVERYBODY
              and not shut(address) and client.get(address.path(rows)).status_code == 404]
    # Its policy is being trained, and no model prepared.
    unfinished = {"runs:download_adapter", "runs:download_kept", "runs:download_model"}
    assert set(hidden) <= {"admin:app_list"} | unfinished


def shut(address: Address) -> bool:
    return address.name.startswith("admin:") and address.name.removeprefix("admin:").split("_")[0] in SHUT_BY_MODEL \
        or address.name.endswith(("_add", "_delete", "view_on_site")) or not address.name.rpartition(":")[2].strip("_")


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_not_logged_in_is_sent_to_the_login_on_every_address(
        method: str, rows: dict[str, Any], anonymous_client: Client) -> None:
    before, open_to_all = state_of(rows), []
    for address in addresses():
        if address.name in FOR_EVERYBODY:
            continue
        answer = getattr(anonymous_client, method)(address.path(rows))
        to_login = answer.status_code == 302 and "login" in answer["Location"]
        if not to_login and answer.status_code not in {401, 403, 404}:
            open_to_all.append(f"{address.name}: {answer.status_code}")
    assert not open_to_all
    assert state_of(rows) == before


@pytest.mark.django_db
@pytest.mark.parametrize("is_staff", [False, True])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_finds_nothing_of_the_team_on_any_address(
        method: str, is_staff: bool, rows: dict[str, Any], stranger: User, other_team: Team) -> None:
    stranger.is_staff = is_staff
    stranger.save()
    before, showing, reached = state_of(rows), [], []
    for address in addresses():
        if address.name in {"logout", "log_out_everywhere"}:
            continue
        client = logged_in(stranger)
        answer = getattr(client, method)(address.path(rows))
        if SECRET in text_of(answer):
            showing.append(address.name)
        if "pk" in address.variables or "object_id" in address.variables:
            refused = {404, 405} if not address.name.startswith("admin:") else {302, 403, 404, 405}
            if answer.status_code not in refused:
                reached.append(f"{address.name}: {answer.status_code}")
    assert not showing, "something of the team is shown"
    assert not reached, "something of the team was found"
    assert state_of(rows) == before


@pytest.mark.django_db
def test_a_strangers_lists_hold_nothing_of_the_team(
        rows: dict[str, Any], stranger_client: Client, teammate_client: Client) -> None:
    for name in ("runs:list", "principles:list", "datasets:list", "labels:list", "judges:list", "sweeps:list",
                 "arena:list", "fronts:list", "calibration:set_list", "review:list"):
        assert SECRET in teammate_client.get(reverse(name)).content.decode(), f"{name} shows it to the team"
        assert SECRET not in stranger_client.get(reverse(name)).content.decode()


@pytest.mark.django_db
def test_the_address_of_a_conversation_opens_for_its_team_only(
        rows: dict[str, Any], teammate_client: Client, stranger_client: Client, anonymous_client: Client) -> None:
    address = f"{reverse('playground:page')}?chat={rows['conversation']}"
    assert SECRET in teammate_client.get(address).content.decode()
    answer = stranger_client.get(address)
    assert answer.status_code == 404 and SECRET not in answer.content.decode()
    assert anonymous_client.get(address).status_code == 302


@pytest.mark.django_db
def test_the_team_of_another_cannot_be_chosen(rows: dict[str, Any], stranger_client: Client, team: Team) -> None:
    assert stranger_client.post(reverse("team"), {"team": str(team.pk)}).status_code == 404
    assert SECRET not in stranger_client.get(reverse("runs:list")).content.decode()


# What Django's resolver does not know: the sockets and the pane ------------------------------------------------------


def cookie_of(user: User | None) -> list[tuple[bytes, bytes]]:
    if user is None:
        return []
    return [(b"cookie", f"sessionid={logged_in(user).cookies['sessionid'].value}".encode())]


async def opened(path: str, headers: list[tuple[bytes, bytes]], origin: bytes = b"http://testserver") -> dict[str, Any]:
    """The first word of the site to a socket."""
    from webapp.asgi import application

    pipe = ApplicationCommunicator(application, {
        "type": "websocket", "path": path, "query_string": b"", "subprotocols": [],
        "headers": [(b"host", b"testserver"), (b"origin", origin), *headers]})
    await pipe.send_input({"type": "websocket.connect"})
    first: dict[str, Any] = await pipe.receive_output(10)
    if first["type"] == "websocket.accept":
        await pipe.send_input({"type": "websocket.disconnect", "code": 1000})
        await pipe.wait(5)
    return first


@pytest.mark.django_db(transaction=True)
async def test_the_socket_of_a_run_opens_for_its_team_only(
        rows: dict[str, Any], teammate: User, stranger: User, other_team: Team) -> None:
    path = f"/ws/runs/{rows['run']}/"
    cookies = {name: await sync_to_async(cookie_of)(user) for name, user in
               {"teammate": teammate, "stranger": stranger, "nobody": None}.items()}
    assert (await opened(path, cookies["teammate"]))["type"] == "websocket.accept"
    assert (await opened(path, cookies["stranger"]))["type"] == "websocket.close"
    assert (await opened(path, cookies["nobody"]))["type"] == "websocket.close"
    from_elsewhere = await opened(path, cookies["teammate"], origin=b"http://evil.example")
    assert from_elsewhere["type"] == "websocket.close", "another site may not listen with a member's cookie"


PANE = ("", "/", "/config", "/theme.css", "/assets/index.js", "/static/img/logo.svg", "/gradio_api/info",
        "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/abc", "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd", "/gradio_api/call/chat", "/gradio_api/startup-events", "/login", "/monitoring",
        "/gradio_api/openapi.json", "/proxy=http://169.254.169.254/", "/manifest.json", "/queue/join")


async def status_of(path: str, method: str, headers: list[tuple[bytes, bytes]]) -> int:
    from webapp.asgi import application

    pipe = ApplicationCommunicator(application, {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": b"", "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        "headers": [(b"host", b"testserver"), (b"content-length", b"2"), (b"content-type", b"application/json"),
                    *headers]})
    await pipe.send_input({"type": "http.request", "body": b"{}", "more_body": False})
    first: dict[str, Any] = await pipe.receive_output(20)
    status: int = first["status"]
    await pipe.wait(5) if status in {302, 401, 403, 404} else pipe.stop()
    return status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_path_of_the_pane_answers_who_is_not_logged_in_or_in_no_team(method: str) -> None:
    loner = await sync_to_async(get_user_model().objects.create_user)("loner", password="loner-password")
    cookie = await sync_to_async(cookie_of)(loner)
    for rest in PANE:
        path = f"/playground/pane{rest}"
        assert await status_of(path, method, []) in {302, 401}, f"{path} answers anybody"
        assert await status_of(path, method, cookie) == 403, f"{path} answers somebody without a team"


@pytest.mark.django_db
def test_the_pane_offers_a_stranger_no_policy_of_the_team(
        team: Team, owner: User, other_team: Team) -> None:
    from webapp.playground.selectors import NotYours, policies_of

    run, _ = make_run(team, owner, until="evaluate", name=SECRET)
    ours = policies_of(team.pk)
    key = next(choice.key for choice in ours.choices if SECRET in choice.title)
    theirs = policies_of(other_team.pk)
    assert all(SECRET not in choice.title for choice in theirs.choices)
    assert all(known.run != run.pk for known in theirs.runs)
    with pytest.raises(NotYours):
        theirs.reference(key)
