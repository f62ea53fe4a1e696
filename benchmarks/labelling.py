"""Labels a second: a label stage under its real supervisor, answers stored in the database, against a server at 50 ms.

    python benchmarks/labelling.py [--answers 1000000] [--quick]

256 questions are in flight, both orders of each pair are asked, and one stage process asks them. Measured are answers
a second from the first question to the last label in the database; the CPU of stage and recorder together, an answer;
and the resident memory of both, their highest, against a run of ten thousand answers. Beside it, in the same run, the
openai SDK alone and the SDK on aiohttp ask the same questions of the same server and store nothing.

--quick asks a tenth. The last line is `labels_per_s: 3300 cpu_ms: 0.2 memory: 1.1`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import repository

IN_FLIGHT = 256
FIRST = 10_000  # answers of the run that memory is compared with
PEERS = 4_000  # answers asked by each peer
SENTENCE = "The lighthouse keeper counts the boats that leave the harbour before the sun is up. "


class Measured(NamedTuple):
    """Answers a second, CPU milliseconds an answer of stage and recorder, and their highest memory in MiB."""

    rate: float
    stage_ms: float
    recorder_ms: float
    stage_mib: float
    recorder_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the answers")
    options = parser.parse_args()
    answers = options.answers // (10 if options.quick else 1)
    with tempfile.TemporaryDirectory(prefix="concord-labelling-") as folder, server() as base_url:
        set_up(Path(folder))
        small = label(base_url, FIRST)
        show(f"{FIRST} answers", small)
        large = label(base_url, answers)
        show(f"{answers} answers", large)
        for name, on_aiohttp in (("the openai SDK alone", False), ("the openai SDK on aiohttp", True)):
            rate, cpu = asyncio.run(peer(base_url, on_aiohttp))
            print(f"{name}: {rate:.0f} answers a second, {cpu:.2f} ms of CPU each, nothing stored "
                  f"(ours: {large.rate / rate:.1f} times as many)", flush=True)
    memory = (large.stage_mib + large.recorder_mib) / (small.stage_mib + small.recorder_mib)
    print(f"labels_per_s: {large.rate:.0f} cpu_ms: {large.stage_ms + large.recorder_ms:.2f} memory: {memory:.2f}")


def show(what: str, measured: Measured) -> None:
    print(f"{what}: {measured.rate:.0f} a second; stage and recorder take {measured.stage_ms:.3f} and "
          f"{measured.recorder_ms:.3f} ms of CPU an answer, {measured.stage_mib:.0f} and {measured.recorder_mib:.0f} "
          "MiB of memory", flush=True)


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("judge_at_50ms.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def set_up(folder: Path) -> None:
    """A Concord with an empty database of its own."""
    os.environ |= {"CONCORD_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    os.environ["CONCORD_BROKER_URL"] = "memory://"  # what comes after the label stage is not run
    os.environ.pop("CONCORD_DATABASE_URL", None)
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def label(base_url: str, answers: int) -> Measured:
    """A run up to its one label stage, and that stage by the supervisor."""
    from training.run.artifacts import write_jsonl
    from webapp.labels.models import Label
    from webapp.runs.models import Stage
    from workers import supervisor
    from workers.leases import claim

    stage = make_stage(base_url, answers // 2)
    write_jsonl(stage.folder / "files" / "pairs.jsonl", pairs(answers, answers // 2))
    prepare(stage)
    before = Label.objects.count()
    claimed = claim(stage.pk)
    assert claimed is not None
    with Watch(stage.folder) as watch:
        supervisor.run_stage(claimed)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.SUCCEEDED, f"{stage.status}: {stage.cause} {stage.details}"
    assert Label.objects.count() - before == answers // 2, "a label is missing"
    return watch.measured(answers)


def make_stage(base_url: str, count: int) -> Any:
    from django.conf import settings

    from tests.webapp.runs.seeds import make_run
    from webapp.accounts.models import Team, User
    from webapp.runs.models import Stage

    user, _ = User.objects.get_or_create(username=settings.DEMO_USER)
    team, _ = Team.objects.get_or_create(slug="bench", defaults={"name": "Bench"})
    _, stages = make_run(team, user, name=f"{count} pairs", until="label")
    stage = next(stage for stage in stages.values() if stage.kind == "label")
    judge = {"kind": "openai", "model": "judge-at-50ms", "base_url": base_url, "max_pairs": max(2, count)}
    stage.settings = {"judge": judge, "principle": stage.principle, "statement": "more helpful", "seed": 0}
    stage.status = Stage.Status.QUEUED
    stage.save()
    (stage.folder / "files").mkdir(parents=True, exist_ok=True)
    return stage


def pairs(salt: int, count: int) -> Iterator[dict[str, Any]]:
    from training.run.pipeline import pair_digest

    for number in range(count):
        prompt = [{"role": "user", "content": f"Tell me story {salt}.{number}. {SENTENCE * 5}"}]
        a, b = f"One: {SENTENCE * 4}", f"Two: {SENTENCE * 5}"
        yield {"digest": pair_digest(prompt, a, b), "prompt": prompt, "a": a, "b": b, "human": None}


def prepare(stage: Any) -> None:
    """The stage's job, without the run's data files: its pairs are there already."""
    from training.run.artifacts import Job, write_json
    from training.run.jobs import stage_command
    from workers import supervisor
    from workers.preparing import Prepared

    path = stage.folder / "files" / "pairs.jsonl"
    job = Job(name="label", kind="label", identity=stage.identity, settings=stage.settings, files={"pairs": path},
              runtime={"judge": {"concurrency": IN_FLIGHT}})
    write_json(stage.folder / "job.json", job.model_dump(mode="json"))
    command = [*stage_command(stage.folder), "--die-with-parent"]
    supervisor.prepare = lambda _: Prepared(command, "", path)  # type: ignore[assignment]


class Watch:
    """Time, CPU and memory of the stage's process and of this one, which records."""

    def __init__(self, folder: Path) -> None:
        self._stream = folder / "events.jsonl"
        self._over = threading.Event()
        self._stage_mib = self._recorder_mib = 0.0

    def __enter__(self) -> Watch:
        self._before = self._cpu()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.time()
        self._after = self._cpu()
        self._over.set()
        self._thread.join()

    def measured(self, answers: int) -> Measured:
        with self._stream.open() as lines:
            began = next(event["time"] for event in map(json.loads, lines) if event["kind"] in {"answer", "label"})
        recorder, stage = (after - before for after, before in zip(self._after, self._before, strict=True))
        return Measured(answers / (self._ended - began), 1000 * stage / answers, 1000 * recorder / answers,
                        self._stage_mib, self._recorder_mib)

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self._recorder_mib = max(self._recorder_mib, mib("self"))
            for child in Path("/proc/self/task").glob("*/children"):
                for pid in child.read_text().split():
                    if b"training" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                        self._stage_mib = max(self._stage_mib, mib(pid, "VmHWM"))

    @staticmethod
    def _cpu() -> tuple[float, float]:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def mib(pid: str, what: str = "VmRSS") -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0.0)


async def peer(base_url: str, on_aiohttp: bool) -> tuple[float, float]:
    """Answers a second and CPU milliseconds an answer of the SDK, asked the same way and read no further."""
    import openai

    http = openai.DefaultAioHttpClient() if on_aiohttp else openai.DefaultAsyncHttpxClient()
    client = openai.AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0, http_client=http)
    content = SENTENCE * 18
    waiting = iter(range(PEERS))

    async def work() -> None:
        for _ in waiting:
            await client.chat.completions.create(
                model="judge-at-50ms", messages=[{"role": "user", "content": content}], max_tokens=1, temperature=0,
                logprobs=True, top_logprobs=20)

    async with client:
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return PEERS / (time.monotonic() - began), 1000 * (time.process_time() - cpu) / PEERS


if __name__ == "__main__":
    assert repository.ROOT
    main()
