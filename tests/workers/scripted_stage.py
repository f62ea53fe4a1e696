"""A stage that does nothing but behave: it reports, checkpoints, stops, dies or refuses as `script.json` says.

Reports `loss` at steps 1 to `steps`, with a checkpoint every 5; goes on from the last one with a rewind, like PPO does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from training.errors import StopRequested
from training.run.artifacts import read_json, write_json, write_manifest
from training.run.reporting import EventFile


def main(folder: Path) -> int:
    script = read_json(folder / "script.json")
    asked: list[int] = []
    signal.signal(signal.SIGTERM, signal.SIG_IGN if script.get("deaf") else lambda number, _: asked.append(number))
    reporter = EventFile(folder / "events.jsonl", lambda: bool(asked))
    checkpoint, done = folder / "checkpoint.json", 0
    if checkpoint.exists():
        done = read_json(checkpoint)["step"]
        reporter.rewind(done)
    for step in range(done + 1, script["steps"] + 1):
        reporter.metric(step, {"loss": 1 / step, "reward": float(step)})
        reporter.sample(step, 0, "a prompt", f"answer {step}", 0.5, {"factuality": 1.0})
        reporter.warning("high_kl", "KL is high", step)
        reporter.progress(step, script["steps"])
        if step == script.get("die_at") and (script.get("die_always") or not (folder / "died").exists()):
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 5 == 0:
            write_json(checkpoint, {"step": step})
        try:
            reporter.checkpoint_if_stopped(lambda: write_json(checkpoint, {"step": step}))  # noqa: B023
        except StopRequested:
            return 75
        time.sleep(script.get("pause", 0.0))
    if failure := script.get("failure"):
        write_json(folder / "failure.json", failure)
        return 1
    write_json(folder / "summary.json", {"steps": script["steps"]})
    write_manifest(folder)
    return int(script.get("code", 0))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
