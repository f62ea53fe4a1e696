"""Which of two responses is better overall: asked of the recipe's judge, each question once. Torch-free.

Verdicts of a judge on a server are recorded as they arrive, so that a resumed command pays for none twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from training.config import JudgeSettings
from training.dialogue import Dialogue
from training.judges.identity import judge_name
from training.judges.judge import PairQuestion, Verdict
from training.judges.prompt import PROMPT_VERSION, prompt_version
from training.models.stage_judge import make_stage_judge
from training.run.artifacts import digest_of, read_jsonl

Question = tuple[Dialogue, str, str]


class Overall:
    """Asks the judge without a principle; `path` is where its verdicts are kept."""

    def __init__(self, settings: JudgeSettings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._known: dict[str, float] = {}
        if path.is_file():
            self._known = {row["question"]: row["probability"] for row in read_jsonl(path)}

    def ask(self, questions: Sequence[Question]) -> list[float | None]:
        """The probability that the first response is the better one, in the order of the questions.

        Equal responses are a half, without asking; None where the judge gave no verdict.
        """
        if self._settings.kind == "rule":
            return self._asked(list(questions))
        keys = [self._key(question) for question in questions]
        missing = {key: question for key, question in zip(keys, questions, strict=True)
                   if key not in self._known and question[1] != question[2]}
        self._asked(list(missing.values()), list(missing))
        return [0.5 if first == second else self._known.get(key)
                for key, (_, first, second) in zip(keys, questions, strict=True)]

    def _asked(self, questions: list[Question], keys: Sequence[str] = ()) -> list[float | None]:
        def keep(index: int, verdict: Verdict) -> None:
            if keys and verdict.probability is not None:
                self._known[keys[index]] = verdict.probability
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"question": keys[index], "probability": verdict.probability}) + "\n")

        if not questions:
            return []
        items = [PairQuestion(*question) for question in questions]
        return [verdict.probability for verdict in asyncio.run(make_stage_judge(self._settings).compare(items, keep))]

    def _key(self, question: Question) -> str:
        judge = self._settings
        name = judge_name(judge).removeprefix("local:")
        version = prompt_version(judge)
        worded = [version] if version not in {"", PROMPT_VERSION} else []  # as it was before there were other wordings
        return digest_of([judge.kind, name, judge.both_orders, list(question), *worded])[:32]
