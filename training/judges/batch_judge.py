"""A judge asked through the Batch API of the OpenAI protocol: files of questions, answered within a day at half price.

Both orders of a pair are asked at once. Sent batches are recorded in `batches.json`, and each carries an idempotency
key made of its questions, so that a stage that was killed before it wrote finds its batch on the server and buys
nothing twice. Failed requests are retried in another batch, with other parameters where the server asks for them.

Left out: drawing answers where a server gives no log-probabilities (its one letter counts), rates per minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import openai
import orjson
from pydantic import BaseModel

from training.config import JudgeSettings
from training.errors import JudgeUnavailable
from training.judges import sdk
from training.judges.addresses import AddressGuard
from training.judges.judge import Answer, Listener, PairQuestion, PairRequest, Verdict, collect, verdict_of
from training.judges.prompt import question_of
from training.judges.protocol import error_message, failure_kind, is_retryable, parse, read_body, safe, scrubbed
from training.judges.rate_controller import RateController
from training.judges.refusals import no_logprobs, refusal_of_all
from training.judges.server_capabilities import ServerCapabilities
from training.judges.spending import Spending, allows, budget_spent
from training.run.artifacts import read_json, write_json

BATCHES = "batches.json"
MOST_PAIRS = 10_000  # a batch: 20,000 requests, of 50,000 and 200 MB that OpenAI takes
POLL = 20.0  # seconds between two polls of a batch
ROUNDS = 3  # attempts per request
AGAIN = {"unavailable", "garbled"}  # kinds of failures that are retried
TERMINAL = {"completed", "failed", "expired", "cancelled"}


class _SentBatch(BaseModel):
    """A sent batch: its idempotency key (`mark`), the first and last request that it holds, and its id on the
    server."""

    mark: str
    first: int
    last: int
    id: str = ""


class BatchJudge:
    """A StreamingJudge that asks in batches and keeps what it has sent in `folder`."""

    def __init__(self, settings: JudgeSettings, key: str, guard: AddressGuard, folder: Path,
                 spent: Spending | None = None) -> None:
        self.settings, self._key, self._guard = settings, key, guard
        self._path, self._spent = folder / BATCHES, spent
        self._capabilities = ServerCapabilities.of(settings)  # for the next batch
        self._batch_capabilities = self._capabilities.copy()  # of the current batch

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`: one batch after the other, each to completion."""
        sdk.check_key(self.settings, self._key)
        self._guard.check_url(sdk.base_url(self.settings))
        pace = RateController(self.settings)
        listener.tick(pace)
        async with sdk.client(self.settings, self._key, self._guard, retries=8) as client:
            waiting = chain(requests)
            while True:
                part, request = self._affordable(waiting)
                if not part:
                    break
                await self._part(client, part, listener, pace)
                waiting = chain([request] if request else [], waiting)

    def _affordable(self, requests: Iterator[PairRequest]) -> tuple[list[PairRequest], PairRequest | None]:
        """As many requests as a batch may have and the budget allows, and the first one beyond.

        Raises:
            BudgetSpent: the budget does not allow even one.
        """
        part: list[PairRequest] = []
        calls = chars = 0
        sent = self._sent()
        for request in islice(requests, MOST_PAIRS):
            texts = [text for _, text in self._questions(request)][1 if request.first_order_answer else 0:]
            calls, chars = calls + len(texts), chars + sum(map(len, texts))
            paid = any(batch.first <= request.key <= batch.last for batch in sent)  # but not yet collected
            if self._spent is not None and not paid and not allows(self.settings, self._spent, calls, chars):
                if not part:
                    raise budget_spent(self.settings, self._spent)
                return part, request
            part.append(request)
        return part, None

    async def _part(self, client: openai.AsyncOpenAI, part: list[PairRequest], listener: Listener,
                    pace: RateController) -> None:
        """Ask for the answers that these requests still lack, until all have arrived or the last attempt is over."""
        answers: dict[str, Answer] = {f"{request.key}-0": request.first_order_answer for request in part
                                      if request.first_order_answer is not None}
        questions = {name: text for request in part for name, text in self._questions(request) if name not in answers}
        before = [sent for sent in self._sent() if sent.first <= part[-1].key and part[0].key <= sent.last]
        attempt, last = 0, ROUNDS + len(before)
        while attempt < last:
            missing = {name: text for name, text in questions.items()
                       if name not in answers or failure_kind(answers[name].reason) in AGAIN}
            if not missing:
                break
            self._batch_capabilities = self._capabilities.copy()
            try:
                if before:  # sent, and paid for, by an earlier attempt of this stage
                    answers |= await self._collect(client, before.pop(0).id, missing, listener, pace)
                else:
                    answers |= await self._round(client, missing, attempt, listener, pace)
            except openai.APIStatusError as error:
                words = safe(error_message(scrubbed(error.response.content, self._key)), self._key)
                raise refusal_of_all(error.status_code, words, self.settings) or JudgeUnavailable(
                    f"The judge's server {sdk.base_url(self.settings)} refused the batch (HTTP {error.status_code}: "
                    f"{words}).", "Look at the judge's settings, then resume: what was sent is kept.") from None
            except openai.APIConnectionError as error:
                raise sdk.refusal(error) or JudgeUnavailable(
                    f"The judge's server {sdk.base_url(self.settings)} cannot be reached.",
                    "When it is back, resume: what was sent is kept.") from None
            same = self._capabilities.as_asked() == self._batch_capabilities.as_asked()
            if same and not any(answer.calls for answer in answers.values()):
                self._ask_for_less()
            # A round that only taught us the server's capabilities does not count as an attempt.
            attempt += self._capabilities.as_asked() == self._batch_capabilities.as_asked()
        nothing = Answer(None, "unavailable: the batch holds no answer")
        for request in part:
            first_order_answer = answers.get(f"{request.key}-0", nothing)
            swapped = answers.get(f"{request.key}-1", nothing) if self.settings.both_orders else None
            listener.judged(request, verdict_of(first_order_answer, swapped))

    def _ask_for_less(self) -> None:
        """Every request was refused without a usable reason: leave out what servers refuse most often."""
        names = self._capabilities.without(self._capabilities.body(self.settings, ""))
        if names and names[0] == ("logprobs",):
            self._capabilities.leave_out(names[0])

    def _questions(self, request: PairRequest) -> Iterator[tuple[str, str]]:
        item = request.item
        yield f"{request.key}-0", question_of(self.settings, item.prompt, item.a, item.b, item.statement)
        if self.settings.both_orders:
            yield f"{request.key}-1", question_of(self.settings, item.prompt, item.b, item.a, item.statement)

    def _keep_budget(self, questions: dict[str, str]) -> None:
        chars = sum(map(len, questions.values()))
        if self._spent is not None and not allows(self.settings, self._spent, len(questions), chars):
            raise budget_spent(self.settings, self._spent)

    async def _round(self, client: openai.AsyncOpenAI, questions: dict[str, str], attempt: int, listener: Listener,
                     pace: RateController) -> dict[str, Answer]:
        """Send these questions, or find the batch of an earlier attempt by its idempotency key, and collect the
        answers."""
        numbers = [int(name.partition("-")[0]) for name in questions]
        fingerprint = [attempt, self._batch_capabilities.as_asked(), sorted(questions.items())]
        idempotency_key = hashlib.sha256(orjson.dumps(fingerprint)).hexdigest()[:32]
        batch_id = await self._find(client, idempotency_key)
        if not batch_id:
            self._keep_budget(questions)
            batch_id = await self._send(client, idempotency_key, questions)
        self._write(_SentBatch(mark=idempotency_key, first=min(numbers), last=max(numbers), id=batch_id))
        return await self._collect(client, batch_id, questions, listener, pace)

    async def _collect(self, client: openai.AsyncOpenAI, batch_id: str, questions: dict[str, str], listener: Listener,
                       pace: RateController) -> dict[str, Answer]:
        """The answers that a batch holds to these questions, once it has ended."""
        batch = await self._wait(client, batch_id, listener, pace)
        answers: dict[str, Answer] = {}
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                answers |= self._read(await client.files.content(file), questions)
        if batch.status == "failed" and not answers:
            reasons = "; ".join(error.message or "" for error in (batch.errors.data or [])) if batch.errors else ""
            raise JudgeUnavailable(f"The server refused a batch: {safe(reasons, self._key) or 'it gives no reason'}.",
                                   "Set 'judge.mode' to live, or look at the account's limits for batches.")
        return answers

    async def _send(self, client: openai.AsyncOpenAI, idempotency_key: str, questions: dict[str, str]) -> str:
        lines = b"".join(orjson.dumps({
            "custom_id": name, "method": "POST", "url": "/v1/chat/completions",
            "body": self._capabilities.body(self.settings, text)}) + b"\n" for name, text in questions.items())
        file = await client.files.create(file=(f"{idempotency_key}.jsonl", lines), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions",
                                            completion_window="24h", metadata={"concord": idempotency_key})
        return batch.id

    async def _find(self, client: openai.AsyncOpenAI, idempotency_key: str) -> str:
        """The id of the batch with this key, sent by a process that was killed before it recorded it; "" for none."""
        async for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get("concord") == idempotency_key:
                return batch.id
        return ""

    async def _wait(self, client: openai.AsyncOpenAI, batch_id: str, listener: Listener, pace: RateController) -> Any:
        while True:
            batch = await client.batches.retrieve(batch_id)
            if batch.status in TERMINAL:
                return batch
            until = time.monotonic() + POLL
            while time.monotonic() < until:
                listener.tick(pace)  # may raise StopRequested: the batch runs on, and is collected on resume
                await asyncio.sleep(min(POLL, 0.25))

    def _read(self, content: Any, questions: dict[str, str]) -> dict[str, Answer]:
        """Answers by name from a file of a batch; lines of any other shape are ignored."""
        answers: dict[str, Answer] = {}
        for line in content.content.splitlines():
            try:
                row = parse(scrubbed(line, self._key))
            except ValueError:
                continue
            name = row.get("custom_id") if isinstance(row, dict) else None
            if name not in questions:
                continue
            response = row.get("response") if isinstance(row.get("response"), dict) else {}
            if response.get("status_code") == 200:
                answers[name] = self._answer(response.get("body"), questions[name])
            else:
                refusal = error_message(orjson.dumps(response.get("body") or row))
                answers[name] = self._failure(response.get("status_code"), refusal, questions[name])
        return answers

    def _answer(self, reply: Any, question: str) -> Answer:
        reading = read_body(reply, self.settings.reasoning)
        probability = reading.probability
        if probability is None and reading.letters:
            probability = reading.letters.count("A") / len(reading.letters)
        reason = "" if probability is not None else safe(reading.reason, self._key)
        if self._batch_capabilities.required and not reading.fault and not reading.top:
            raise no_logprobs(self.settings)
        if probability is None and not self._capabilities.accepts(
                reading, self._batch_capabilities.body(self.settings, question)):
            reason = f"unavailable: cut off, {reason}"
        if self._spent is not None and not reading.fault:
            self._spent.add(1, reading.tokens_in, reading.tokens_out, len(question))
        return Answer(probability, reason, reading.tokens_in, reading.tokens_out, 1, len(question), reading.model)

    def _failure(self, status: Any, refusal: str, question: str) -> Answer:
        """A failed request: retryable, with other parameters or as it is, or refused for good."""
        status = status if isinstance(status, int) else 500  # the request expired, or was never sent
        learnt = self._capabilities.learn(status, refusal, self._batch_capabilities.body(self.settings, question))
        reason = safe(f"HTTP {status}: {refusal}", self._key)
        return Answer(None, f"unavailable: {reason}" if learnt or is_retryable(status) else reason)

    def _sent(self) -> list[_SentBatch]:
        return [_SentBatch.model_validate(row) for row in read_json(self._path)] if self._path.is_file() else []

    def _write(self, sent: _SentBatch) -> None:
        others = [row for row in self._sent() if row.mark != sent.mark]
        write_json(self._path, [row.model_dump() for row in (*others, sent)])
