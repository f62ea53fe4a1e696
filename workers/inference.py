"""The inference worker: policies answer one prompt, token by token, and a run's reward scores their answers.

A few chats are answered at once, each by a thread that loads, listens and scores; one more thread draws the replies,
those of one base in one batch (`workers.chat_engine`). More chats wait in `workers.chat_queue`. Torch is imported at
the first chat or, in a worker of the inference queue, at its start. The events for the page and the key that cancels a
chat are defined in `webapp.playground.stream`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import connection

from training.config import DEMO_WORLD, Scalarization
from training.errors import BadSettings, ModelUnavailable, TrainingError
from training.run.baselines import measured_rewards, reward_principles
from training.run.model_names import models_at
from training.run.pipeline import plan, served_by
from webapp.playground.chat_events import PROTOCOL, AnswersScored, PrincipleScore, letter
from webapp.playground.stream import QUEUE, TASK, ChatWriter, Request
from webapp.runs.model_home import models_home
from webapp.runs.models import Run
from workers.chat_engine import BatchedPolicy, ChatEngine
from workers.chat_queue import ChatQueue
from workers.loaded_models import Loaded
from workers.policies import located

if TYPE_CHECKING:
    from training.models.chat_batch import ChatBatch, Reply
    from training.models.mixed_lora import Policy
    from training.reward.rewards import PrincipleRewards

# Waiting threads must release their core, or a worker beside a training stage is forty times slower. Torch reads this
# when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

log = logging.getLogger("concord.inference")
BEAT = 0.05  # seconds between two writes of text pieces


class Cancelled(Exception):
    """The user stopped the chat."""


_loaded = Loaded()
_engine = ChatEngine()
_scoring = threading.Lock()  # preference models are used by one thread at a time


@shared_task(name=TASK)
def chat(request: dict[str, Any]) -> None:
    """Queue a chat. All results and errors go to the page, none to the broker."""
    chat_request = Request.from_json(request)
    with _writer(chat_request) as writer:
        if writer.cancelled():  # before it came here: the page waits for an end, if it is still open
            writer.emit({"kind": "finished", "cancelled": True})
            return
        writer.emit({"kind": "started", "protocol": PROTOCOL})
        if ahead := _chats.ahead:
            writer.emit({"kind": "waiting", "ahead": ahead})
        _chats.put(chat_request)


def answer(request: Request) -> None:
    """Answer a chat whose turn has come, score the answers, and say how it ended."""
    with _writer(request) as writer:
        try:
            if writer.cancelled():
                raise Cancelled
            converse(request, writer)
        except Cancelled:
            writer.emit({"kind": "finished", "cancelled": True})
        except TrainingError as error:
            writer.emit({"kind": "failed", "cause": error.cause, "remedy": error.remedy})
        except Exception:
            log.exception("chat %s", request.id)
            writer.emit({"kind": "failed", "cause": "An unexpected error occurred in the inference worker.",
                         "remedy": "See its log for details, then send the prompt again."})
        else:
            writer.emit({"kind": "finished", "cancelled": False})


def _answer_and_let_go(request: Request) -> None:
    """Answer a chat in the answering thread, which closes its database connection before it waits for the next one."""
    try:
        answer(request)
    finally:
        connection.close()


@contextmanager
def _writer(request: Request) -> Iterator[ChatWriter]:
    """The writer of a chat's stream. Without Redis the page cannot be reached, so the error is only logged."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        try:
            yield ChatWriter(client, request.id)
        except redis.RedisError:
            log.exception("chat %s: cannot write its stream", request.id)


def _refuse(request: Request, cause: str, remedy: str) -> None:
    with _writer(request) as writer:
        writer.emit({"kind": "failed", "cause": cause, "remedy": remedy})


def _is_stopped(request: Request) -> bool:
    stopped = False
    with _writer(request) as writer:
        stopped = writer.cancelled()
    return stopped


def _stopped(request: Request) -> None:
    with _writer(request) as writer:
        writer.emit({"kind": "finished", "cancelled": True})


def _moved(request: Request, ahead: int) -> None:
    with _writer(request) as writer:
        writer.emit({"kind": "waiting", "ahead": ahead})


def new_queue(at_once: int) -> ChatQueue:
    return ChatQueue(_answer_and_let_go, _refuse, _is_stopped, _stopped, at_once, _moved)


_chats = new_queue(settings.CHATS_AT_ONCE)


def converse(request: Request, writer: ChatWriter) -> None:
    """Run one chat: load the models, stream the answers, compute the rewards.

    Raises:
        Cancelled: the user stopped it.
        TrainingError: a model is missing, cannot be loaded, or is too small for the prompt.
    """
    policies = [_policy(request, side, writer) for side in range(len(request.policies))]
    answers = stream_answers(policies, request, writer)
    if request.scorer is not None:
        if writer.cancelled():
            raise Cancelled
        writer.emit(score(request, answers))


def stream_answers(policies: list[BatchedPolicy], request: Request, writer: ChatWriter) -> list[str]:
    """Stream all answers as they are drawn; pieces are written about twenty times per second."""
    began, news = time.monotonic(), threading.Event()
    sampling = asdict(request.sampling)
    replies: list[Reply] = []
    answers, going = [""] * len(policies), list(range(len(policies)))
    try:
        for side in range(len(policies)):
            replies.append(policies[side].begin(request.dialogues[side], news.set, **sampling))
        while going:
            news.wait(BEAT)
            news.clear()
            for side in list(going):
                over = replies[side].ended  # before its text is taken: nothing comes after that
                piece = replies[side].take()
                answers[side] += piece
                if over:
                    going.remove(side)
                    tokens = policies[side].count_tokens(answers[side])
                    writer.emit({"kind": "answer", "side": side, "text": answers[side], "tokens": tokens,
                                 "seconds": round(time.monotonic() - began, 2),
                                 "ended": tokens < request.sampling.max_new_tokens})
                elif piece:
                    writer.emit({"kind": "piece", "side": side, "text": piece})
            if writer.cancelled():
                raise Cancelled
    finally:
        for reply in replies:
            reply.stop()
    return answers


def score(request: Request, answers: list[str]) -> AnswersScored:
    """Rewards of all answers by the scoring run's preference models, weights and scalarization."""
    run = Run.objects.filter(team_id=request.team, pk=request.scorer or 0).first()
    if run is None:
        raise ModelUnavailable("The run that scores the answers no longer exists.",
                               "Choose another run under “Sampling, scoring, prompts”.")
    rewards = _loaded.get(("rewards", run.pk), lambda: _principle_rewards(run))
    with _scoring:
        scores = rewards(request.dialogues, answers, len(answers))
    recipe = run.stored.recipe  # a prompt that somebody typed has no reference answer to measure by
    unmeasured = set(recipe.referenced).intersection(measured_rewards(recipe))
    no_scores: list[float | None] = [None] * len(answers)
    principles: list[PrincipleScore] = [
        {"name": name, "scores": no_scores if name in unmeasured else _rounded(scores.standardised[:, column]),
         "parts": _rounded(scores.weighted[:, column])}
        for column, name in enumerate(rewards.names)]
    return {"kind": "rewards", "principles": principles, "totals": _rounded(scores.total)}


def _principle_rewards(run: Run) -> PrincipleRewards:
    from training.reward.loading import load_scorer
    from training.reward.rewards import PrincipleRewards
    from training.run.artifacts import read_json

    recipe = run.stored.recipe
    stages = {use.name: use.stage for use in run.uses.select_related("stage")}
    folders = {name: stages[stage].folder for name, stage in served_by(plan(recipe)).items()}
    fitted = read_json(stages["weights"].folder / "weights.json")
    with models_at(models_home()):
        scorer = load_scorer(list(reward_principles(recipe)), folders, measured_rewards(recipe),
                             fitted.get("scales", {}), _device(recipe.device), recipe.precision)
    weights: dict[str, float] = fitted["weights"]
    rewards = PrincipleRewards(scorer, weights, Scalarization.model_validate(recipe.scalarization.model_dump()))
    if not rewards.constraints.use_learnt(stages["ppo"].folder):
        log.warning("run %s: its multipliers were not stored; scoring with their initial values", run.pk)
    return rewards


def _policy(request: Request, side: int, writer: ChatWriter) -> BatchedPolicy:
    """The policy of one side, its base loaded if necessary, checked to have room for the prompt."""
    policy_files = located(request.team, request.policies[side])
    base, device, precision = policy_files.base, _device(policy_files.device), policy_files.precision
    key = _base_key(base, device, precision)
    if key not in _loaded:
        writer.emit({"kind": "loading", "side": side})
    batch = _loaded.get(key, lambda: _load_base(base, device, precision))
    policy = BatchedPolicy(_engine, batch, _adapters(policy_files.parts))
    room = policy.longest - request.sampling.max_new_tokens
    needed = policy.count_tokens(request.dialogues[side])
    if needed > room:
        raise BadSettings(
            f"The conversation with policy {letter(side)} has {needed} tokens. With an answer of up to "
            f"{request.sampling.max_new_tokens} tokens, {max(0, room)} fit.",
            "Start a new conversation, shorten the prompt, or allow a shorter answer.")
    return policy


def _adapters(parts: Sequence[tuple[Path, float]]) -> Policy:
    """What the rows of a batch have on their base: nothing, an adapter, or a weighted sum of some."""
    from training.models.mixed_lora import Soup

    if not parts:
        return None
    return parts[0][0] if len(parts) == 1 and parts[0][1] == 1 else Soup(tuple(parts))


def _base_key(base: str | Path, device: Any, precision: str) -> Hashable:
    """What policies must have in common to be adapters on the same weights: a base, or the folder of a model that a
    stage made."""
    return "base", str(base), str(device), precision


def _load_base(base: str | Path, device: Any, precision: str) -> ChatBatch:
    from training.models import language_model
    from training.models.chat_batch import ChatBatch

    with models_at(models_home()):
        return ChatBatch(language_model.load(base, device, precision))


def _device(name: str) -> Any:
    from training.models.language_model import pick_device

    return pick_device(name)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


@worker_ready.connect
def warm_up(sender: Any, **_: object) -> None:
    """In a worker of the inference queue: import torch and load the demo world's policy before the first chat."""
    if QUEUE in sender.app.amqp.queues.consume_from:
        threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()


@worker_shutting_down.connect
def close(**_: object) -> None:
    _chats.close()


def _warm_up() -> None:
    began, ended = time.monotonic(), threading.Event()
    try:
        device = _device("auto")
        batch = _loaded.get(_base_key(DEMO_WORLD, device, "fp32"),
                            lambda: _load_base(DEMO_WORLD, device, "fp32"))
        reply = BatchedPolicy(_engine, batch, None).begin([{"role": "user", "content": "Hello"}], ended.set,
                                                          max_new_tokens=1)
        ended.wait()
        reply.take()
    except TrainingError as error:
        log.warning("could not load the demo policy in advance: %s", error)
        return
    log.info("loaded the demo policy in %.1f s", time.monotonic() - began)
