"""Makes the answers of an arena: the engine's own command in a process of its own, whose lines are stored."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings

from training.errors import ModelUnavailable, TrainingError
from training.run.artifacts import write_json
from training.run.pipeline import plan, served_by
from webapp.arena import answering
from webapp.arena.models import Arena, Entrant
from webapp.playground.selectors import NotYours, policies_of
from webapp.runs.model_home import models_home
from webapp.runs.models import Run
from workers.policies import located
from workers.processes import environment

LOOK = 1.0  # seconds between two looks at what is new
TAIL = 2000  # characters of the output that an error is looked for in


def answer_arena(arena_id: int) -> None:
    """Make the answers that are missing. Does nothing if another worker does, or the job was canceled."""
    arena = answering.answers_claim(arena_id=arena_id)
    if arena is None:
        return
    try:
        with tempfile.TemporaryDirectory(prefix="concord-arena-") as folder:
            write_json(Path(folder) / "job.json", job_of(arena))
            problem = _run(arena, Path(folder))
    except TrainingError as error:
        return answering.answers_failed(arena=arena, cause=error.cause, remedy=error.remedy)
    except Exception:
        answering.answers_failed(arena=arena, cause="An unexpected error occurred in the worker.",
                                 remedy="See the workers' log for details, then start it again.")
        raise
    if problem:
        answering.answers_failed(arena=arena, cause=problem, remedy=
                                 "Correct that, then start it again: the answers that are stored are not made again.")


def job_of(arena: Arena) -> dict[str, Any]:
    """The job of `training.policy_answers`.

    Raises:
        ModelUnavailable: a policy is no longer there.
    """
    policies = [_policy(arena, entrant) for entrant in arena.entrants.select_related("arena")]
    return {"prompts": dict(arena.prompts.values_list("pk", "prompt")),
            "policies": [policy for policy in policies if policy["prompts"]],
            "temperature": arena.temperature, "max_new_tokens": arena.max_new_tokens, "seed": arena.seed,
            "models": models_home().to_json(), "scorer": _scorer(arena.scorer) if arena.scorer else None}


def _policy(arena: Arena, entrant: Entrant) -> dict[str, Any]:
    try:
        reference = policies_of(arena.team_id).reference(entrant.key)
    except NotYours:
        raise ModelUnavailable(f"The policy “{entrant.name}” no longer exists.",
                               "Make a new arena without it.") from None
    files = located(arena.team_id, reference)
    return {"id": entrant.pk, "base": str(files.base), "is_folder": isinstance(files.base, Path),
            "parts": [[str(adapter), weight] for adapter, weight in files.parts],
            "prompts": answering.missing_prompts(entrant), "device": files.device, "precision": files.precision}


def _scorer(run: Run) -> dict[str, Any]:
    recipe = run.stored.recipe
    stages = {use.name: use.stage for use in run.uses.select_related("stage")}
    return {"recipe": recipe.model_dump(mode="json"), "weights": str(stages["weights"].folder),
            "ppo": str(stages["ppo"].folder),
            "folders": {name: str(stages[stage].folder) for name, stage in served_by(plan(recipe)).items()}}


def _run(arena: Arena, folder: Path) -> str:
    """Run the engine's command and store its lines. Returns why it failed, or ""."""
    out, log = folder / "answers.jsonl", folder / "output.log"
    out.touch()
    command = [sys.executable, "-m", "training", "answer", str(folder / "job.json"), "--out", str(out)]
    with out.open() as lines, log.open("w+") as output:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment(), stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
        try:
            rest = ""
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK)
                rest = _store(arena, rest + lines.read())
                if not answering.answers_seen(arena=arena):
                    return ""
            _store(arena, rest + lines.read())
        finally:
            process.kill()
            process.wait()
    if process.returncode == 0:
        answering.answers_done(arena=arena)
        return ""
    return _why(process.returncode, log.read_text(errors="replace")[-TAIL:])


def _store(arena: Arena, text: str) -> str:
    """Store the whole lines of what was read; returns the beginning of a line that is not whole."""
    whole, _, rest = text.rpartition("\n")
    answering.answers_store(arena=arena, answers=[json.loads(line) for line in whole.splitlines() if line])
    return rest


def _why(code: int, output: str) -> str:
    said = next((line for line in reversed(output.splitlines()) if line.startswith("error: ")), "")
    if said:
        return said.removeprefix("error: ")
    if code < 0:
        return f"The system killed the process (signal {-code}), most likely because memory ran out."
    return f"The process ended with code {code} and gave no reason."
