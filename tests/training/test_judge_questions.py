"""What a judge is asked: two layouts, examples, room to think; the wording is part of what a label is."""

from __future__ import annotations

import os
from pathlib import Path

from training.config import JudgeSettings
from training.judges.control import ControlFile, read_control, write_control
from training.judges.prompt import prompt_version, question, question_of

PROMPT = [{"role": "user", "content": "How are you?"}]


def asked(statement: str = "kinder", **settings: object) -> str:
    judge = JudgeSettings.model_validate({"kind": "openai", "model": "m", **settings})
    return question_of(judge, PROMPT, "Well.", "Fool!", statement)  # type: ignore[arg-type]


def test_the_papers_layout_is_what_it_was() -> None:
    assert asked() == question(PROMPT, "Well.", "Fool!", "kinder")  # type: ignore[arg-type]
    assert asked().endswith("which response is kinder?\nAnswer with one letter, A or B.")


def test_a_statement_may_end_as_a_sentence_does_and_none_asks_which_is_better_overall() -> None:
    assert asked("kinder.") == asked(" kinder ") == asked("kinder?") == asked("kinder")
    assert "which response is better overall, all things considered?" in asked("")


def test_with_the_principle_last_all_principles_share_the_pair() -> None:
    shared = os.path.commonprefix([asked("kinder", layout="shared_prefix"), asked("longer", layout="shared_prefix")])
    assert "Well." in shared and "Fool!" in shared and "kinder" not in shared
    assert "Well." not in os.path.commonprefix([asked("kinder"), asked("longer")])


def test_examples_favour_no_letter_and_come_first() -> None:
    text = asked(few_shot=4)
    examples, _, rest = text.partition("=== Now your task ===")
    assert rest.strip() == asked() and examples.count("\nA\n") == examples.count("\nB\n") == 2
    assert "Answer: B" in asked(few_shot=1, reasoning=True)


def test_every_wording_has_a_version_of_its_own_and_the_first_keeps_its_labels() -> None:
    versions = {prompt_version(JudgeSettings(kind="openai", model="m", layout=layout, few_shot=shots, reasoning=thinks))
                for layout in ("paper", "shared_prefix") for shots in (0, 4) for thinks in (False, True)}
    assert len(versions) == 8 and max(map(len, versions)) <= 20 and "1" in versions
    assert prompt_version(JudgeSettings()) == ""


def test_what_is_changed_while_it_runs_is_seen_once_and_outlives_the_process(tmp_path: Path) -> None:
    file = ControlFile(tmp_path)
    assert not file.look()
    write_control(tmp_path, paused=True, requests_per_minute=30)
    write_control(tmp_path, concurrency=2)
    assert file.look() and not file.look()
    assert file.control.paused and file.control.applied_to(JudgeSettings()).requests_per_minute == 30
    assert read_control(tmp_path).concurrency == 2 == file.control.applied_to(JudgeSettings(concurrency=9)).concurrency
    (tmp_path / "control.json").write_text("{half")
    assert file.look() and not file.control.paused
