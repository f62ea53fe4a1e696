"""A stage that does nothing but report, run by the real supervisor: what `live_latency.py` watches.

    python benchmarks/synthetic_stage.py follow          make a run, claim its PPO stage, supervise it
    python benchmarks/synthetic_stage.py write FOLDER     be that stage: wait for FOLDER/go, then report on and on
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

import repository  # noqa: F401

FIRST = 1000  # the first value: every value is a number of its own with four digits


def write(folder: Path) -> None:
    from training.run.reporting import EventFile

    while not (folder / "go").exists():
        time.sleep(0.05)
    reporter, draw = EventFile(folder / "events.jsonl"), random.Random(7)
    for step in range(1, 9000):
        reporter.metric(step, {"reward/total": FIRST + step, "kl/mean": step % 7, "policy/entropy": step % 5})
        reporter.progress(step, 9000)
        time.sleep(draw.uniform(0.05, 0.15))


def follow() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    from django.conf import settings

    from tests.webapp.runs.seeds import make_run
    from webapp.accounts.models import Team, User
    from webapp.runs.models import Stage
    from workers import supervisor
    from workers.leases import claim
    from workers.preparing import Prepared

    user = User.objects.get(username=settings.DEMO_USER)
    run, stages = make_run(Team.objects.get(slug="demo-team"), user, name="Ten lines a second")
    stage = stages["ppo"]
    stage.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "write", str(stage.folder)]
    supervisor.prepare = lambda _: Prepared(command, "", None)  # type: ignore[assignment]
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.QUEUED)
    print(json.dumps({"run": run.pk, "folder": str(stage.folder)}), flush=True)
    claimed = claim(stage.pk)
    assert claimed is not None
    supervisor.run_stage(claimed)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        follow()
