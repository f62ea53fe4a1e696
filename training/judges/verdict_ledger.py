"""Verdicts bought by stages other than labelling: each is written to a file as it arrives, and paid for once.

One line per verdict, and one for the first of two orders. A killed stage reads them again on restart; a question with
other content (another answer of the policy, another wording) is another question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson

from training.config import JudgeSettings
from training.judges.identity import judge_name
from training.judges.judge import Answer, PairQuestion, PairRequest, StreamingJudge, Verdict
from training.judges.prompt import prompt_version
from training.judges.rate_controller import RateController
from training.judges.spending import Spending
from training.run.artifacts import digest_of


def question_key(settings: JudgeSettings, item: PairQuestion) -> str:
    """By what a verdict is found again: who was asked, how, and what about."""
    return digest_of([judge_name(settings), prompt_version(settings), settings.both_orders, *item])[:32]


def bought_keys(path: Path) -> set[str]:
    """The keys of the verdicts in a ledger's file, which another process may be writing: nothing is opened to write."""
    data = path.read_bytes() if path.is_file() else b""
    rows = (orjson.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines())
    return {row["key"] for row in rows if "verdict" in row and row["verdict"]["probability"] is not None}


class VerdictLedger:
    """The verdicts in one file.

    Attributes:
        spent: what they have cost, earlier attempts of the stage included.
    """

    def __init__(self, path: Path, settings: JudgeSettings) -> None:
        self._path, self._settings = path, settings
        self._verdicts: dict[str, Verdict] = {}
        self._first_orders: dict[str, Answer] = {}
        self.spent = Spending()
        self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def key(self, item: PairQuestion) -> str:
        return question_key(self._settings, item)

    def verdict(self, item: PairQuestion) -> Verdict | None:
        """The verdict that was bought; None where there is none or only an error."""
        verdict = self._verdicts.get(self.key(item))
        return verdict if verdict is not None and verdict.probability is not None else None

    def first_order(self, item: PairQuestion) -> Answer | None:
        """The answer to the first of two orders, where the second is still to be asked."""
        return self._first_orders.get(self.key(item))

    def add(self, item: PairQuestion, verdict: Verdict) -> None:
        self._verdicts[self.key(item)] = verdict
        self._write({"key": self.key(item), "verdict": verdict._asdict()})

    def add_first_order(self, item: PairQuestion, answer: Answer) -> None:
        self._first_orders[self.key(item)] = answer
        self._write({"key": self.key(item), "answer": answer._asdict()})

    def _write(self, row: dict[str, object]) -> None:
        self._file.write(orjson.dumps(row) + b"\n")

    def _read(self) -> None:
        if not self._path.is_file():
            return
        data = self._path.read_bytes()
        complete = data[: data.rfind(b"\n") + 1]
        if len(complete) < len(data):  # torn by a kill
            self._path.write_bytes(complete)
        for line in complete.splitlines():
            row = orjson.loads(line)
            if "answer" in row:
                self._first_orders[row["key"]] = Answer(**row["answer"])
                continue
            verdict = self._verdicts[row["key"]] = Verdict(**row["verdict"])
            self.spent.add(verdict.calls, verdict.tokens_in, verdict.tokens - verdict.tokens_in, verdict.chars)
            if row["key"] in self._first_orders:  # its price is in the verdict's
                first = self._first_orders[row["key"]]
                self._first_orders[row["key"]] = first._replace(tokens_in=0, tokens_out=0, calls=0, chars=0)
        for answer in self._first_orders.values():
            self.spent.add(answer.calls, answer.tokens_in, answer.tokens_out, answer.chars)


class _Listener:
    """Records what arrives, and lets `look` stop the stage between two requests."""

    def __init__(self, ledger: VerdictLedger, on_verdict: Callable[[], None], look: Callable[[], None],
                 warn: Callable[[str], None]) -> None:
        self._ledger, self._on_verdict, self._look, self._warn = ledger, on_verdict, look, warn
        self.bought: dict[int, Verdict] = {}

    def answered(self, request: PairRequest, answer: Answer) -> None:
        self._ledger.add_first_order(request.item, answer)

    def judged(self, request: PairRequest, verdict: Verdict) -> None:
        self.bought[request.key] = verdict
        self._ledger.add(request.item, verdict)
        self._on_verdict()
        self._look()

    def tick(self, pace: RateController) -> None:
        self._look()

    def notice(self, text: str, warn: bool = True) -> None:
        if warn:
            self._warn(text)


def buy_verdicts(judge: StreamingJudge, items: Sequence[PairQuestion], ledger: VerdictLedger,
                 on_verdict: Callable[[], None], look: Callable[[], None],
                 warn: Callable[[str], None]) -> list[Verdict]:
    """A verdict for each item, in their order; only those missing in the ledger are asked for.

    Args:
        on_verdict: called for each verdict as it arrives.
        look: called several times a second; may raise StopRequested; what was bought until then is in the ledger.
        warn: called with warnings about the judge.

    Raises:
        JudgeUnavailable, BudgetSpent: as `judge.StreamingJudge`.
    """
    def requests() -> Iterator[PairRequest]:
        for place in missing:
            yield PairRequest(place, items[place], ledger.first_order(items[place]))

    bought_before = [ledger.verdict(item) for item in items]
    missing = [place for place, verdict in enumerate(bought_before) if verdict is None]
    listener = _Listener(ledger, on_verdict, look, warn)
    if missing:
        asyncio.run(judge.stream(requests(), listener))
    return [verdict or listener.bought[place] for place, verdict in enumerate(bought_before)]
