"""Makes a model export: the engine's own command in a process of its own, since it loads a whole model."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time

from django.conf import settings

from webapp.runs.downloads.services import export_claim, export_done, export_failed, export_seen
from webapp.runs.models import ModelExport
from workers.processes import environment

BEAT = 20.0  # seconds between two signs of life
LONGEST = 2 * 3600.0  # for a model of 70 billion parameters from a slow disk
TAIL = 2000  # characters of the output that an error is looked for in


def make_export(export_id: int) -> None:
    """Export the model of a stage. Does nothing if another worker has it."""
    export = export_claim(export_id=export_id)
    if export is None:
        return
    shutil.rmtree(export.folder, ignore_errors=True)
    command = [sys.executable, "-m", "training", "export", str(export.stage.folder), "--out", str(export.folder)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment(), stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
        try:
            code = _wait(process, export)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        text = output.read()[-TAIL:]
    if code == 0:
        return export_done(export=export)
    said = next((line for line in reversed(text.splitlines()) if line.startswith("error: ")), "")
    export_failed(export=export, cause=said.removeprefix("error: ") or _why_it_ended(code),
                  remedy="" if said else "Free some memory or disk space, then export it again.")


def _wait(process: subprocess.Popen[bytes], export: ModelExport) -> int | None:
    """The process's exit code, None if it took too long."""
    give_up = time.monotonic() + LONGEST
    while time.monotonic() < give_up:
        try:
            return process.wait(BEAT)
        except subprocess.TimeoutExpired:
            export_seen(export=export)
    return None


def _why_it_ended(code: int | None) -> str:
    if code is None:
        return f"The export took longer than {LONGEST / 3600:.0f} hours."
    if code < 0:
        return f"The system killed the process (signal {-code}), most likely because memory ran out."
    return f"The process ended with code {code} and gave no reason."
