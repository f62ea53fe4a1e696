"""What a fault in the middle of a run costs: each scenario is the same run with something taken away from it.

    python benchmarks/faults.py [--only NAME ...]

Every scenario starts Concord in a folder of its own and one run (two principles, a judge behind HTTP that takes 120 ms,
20 phases of PPO), makes its fault, waits for the end, and holds labels, series and samples against those of the run
without a fault: equal to the last digit, every step there once, and no question asked again but those that were in
flight. `one click` means that a person had to press Resume.

Left out: a read-only disk and a clock that is set back (tests/workers/test_reaping.py has the lease that it leaves).

The last line is `scenarios: 14 wrong: 0`.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
import redis
import repository  # noqa: F401
from own_servers import Servers

from tests.judge_server import JudgeServer, judge_server
from tests.processes import wait_for
from tests.stack import Stack, Visitor, wait_until, with_it_gone

DELAY = 0.12  # seconds that the judge takes
LONGEST = 400.0
RUN = {
    "data__limit": "200", "data__held_out": "20", "principle": ["factuality", "conciseness"], "sample__count": "40",
    "judge__kind": "openai", "judge__model": "shorter", "judge__max_pairs": "40", "judge__concurrency": "4",
    "preference_model__epochs": "1", "ppo__steps": "20", "ppo__batch_size": "16", "ppo__epochs": "1",
    "ppo__sample_every": "5", "ppo__checkpoint_every": "5", "evaluate__prompts": "12", "seed": "3"}
# Series that tell of time, or in which order labels came.
_TIMED = ("time/", "seconds", "per_second", "label/", "labels/", "memory")


@dataclass
class Result:
    """What a run came to."""

    status: str
    questions: int
    labels: dict[tuple[str, str], float | None]
    series: dict[str, tuple[list[float], list[float]]]
    samples: list[Any]
    clicks: int = 0
    seconds: float = 0.0


@dataclass
class Scene:
    """A run under way, and what a scenario may do to it."""

    stack: Stack
    visitor: Visitor
    judge: JudgeServer
    run: int
    servers: Servers
    clicks: int = field(default=0)

    def labelling(self) -> None:
        """Wait until a third of the labels is there."""
        before = len(self.judge.questions)
        wait_until("labels", lambda: len(self.judge.questions) >= before + 40, LONGEST)

    def ppo(self, step: int = 4) -> None:
        wait_until(f"step {step} of PPO", lambda: self.step() >= step, LONGEST)

    def step(self) -> int:
        return int(self.visitor.series(self.run).get("reward/total", {}).get("step", [0])[-1])

    def process(self, *words: str) -> psutil.Process:
        return wait_for(" ".join(words), lambda: self.stack.processes(*words), 60)[-1]

    def kill(self, *words: str) -> None:
        with_it_gone(self.process(*words))

    def hold(self, seconds: float, *words: str) -> None:
        """Stop a process as a machine that swaps does, and let it go on."""
        process = self.process(*words)
        process.suspend()
        time.sleep(seconds)
        process.resume()


# Scenarios -----------------------------------------------------------------------------------------------------------


def nothing(scene: Scene) -> None:
    pass


def kill_the_trainer(scene: Scene) -> None:
    for step in (4, 9):
        scene.ppo(step)
        scene.kill("-m training", "stage")


def kill_the_gpu_worker(scene: Scene) -> None:
    for step in (3, 9):
        scene.ppo(step)
        scene.kill("celery", "-Q gpu")


def kill_the_io_worker(scene: Scene) -> None:
    scene.labelling()
    scene.kill("celery", "-Q io")
    scene.labelling()
    scene.kill("celery", "-Q io")


def kill_the_web(scene: Scene) -> None:
    scene.labelling()
    scene.kill("uvicorn")
    wait_until("the web", scene.stack.answers, 60)
    scene.ppo()
    scene.kill("uvicorn")
    wait_until("the web", scene.stack.answers, 60)


def kill_the_broker(scene: Scene) -> None:
    scene.labelling()
    _broker(scene).kill()
    scene.ppo()
    _broker(scene).kill()


def kill_everything(scene: Scene) -> None:
    for reached in (scene.labelling, scene.ppo):
        reached()
        assert scene.stack.process is not None
        for process in [psutil.Process(scene.stack.process.popen.pid), *scene.stack.processes()]:
            with_it_gone(process)
        scene.stack.start()


def hold_the_gpu_worker(scene: Scene) -> None:
    scene.ppo()
    scene.hold(30, "celery", "-Q gpu")


def hold_the_io_worker(scene: Scene) -> None:
    scene.labelling()
    scene.hold(30, "celery", "-Q io")


def lock_the_database(scene: Scene) -> None:
    for reached in (scene.labelling, scene.ppo):
        reached()
        database = sqlite3.connect(scene.stack.var / "concord.sqlite3", timeout=60, isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(60)
        database.execute("ROLLBACK")
        database.close()


def fill_the_disk(scene: Scene) -> None:
    scene.ppo()
    ballast = scene.stack.var / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 1024**2)
                file.flush()
        except OSError:
            pass
    time.sleep(25)
    ballast.unlink()


def stop_postgresql(scene: Scene) -> None:
    for reached in (scene.labelling, scene.ppo):
        reached()
        scene.servers.stop_postgresql()
        time.sleep(8)
        scene.servers.start_postgresql()


def empty_redis(scene: Scene) -> None:
    for reached in (scene.labelling, scene.ppo, lambda: scene.ppo(9)):
        reached()
        redis.Redis.from_url(scene.servers.redis_url).flushall()


def restart_redis(scene: Scene) -> None:
    for reached in (scene.labelling, scene.ppo):
        reached()
        scene.servers.stop_redis()
        time.sleep(3)
        scene.servers.start_redis()


SCENARIOS: dict[str, Callable[[Scene], None]] = {
    "without a fault": nothing, "without a fault again": nothing, "the trainer killed": kill_the_trainer,
    "the gpu worker killed": kill_the_gpu_worker, "the io worker killed": kill_the_io_worker,
    "the web killed": kill_the_web, "the broker killed": kill_the_broker, "everything killed": kill_everything,
    "the gpu worker held": hold_the_gpu_worker, "the io worker held": hold_the_io_worker,
    "the database locked": lock_the_database, "the disk full": fill_the_disk, "PostgreSQL stopped": stop_postgresql,
    "Redis emptied": empty_redis, "Redis restarted": restart_redis}
_ON_SERVERS = {stop_postgresql, empty_redis, restart_redis}


# The machinery -------------------------------------------------------------------------------------------------------


def _broker(scene: Scene) -> psutil.Process:
    """The embedded server: it overwrites its environment, so it is told by its place among the children."""
    assert scene.stack.process is not None
    children = psutil.Process(scene.stack.process.popen.pid).children()
    return next(child for child in children if "-server" in " ".join(child.cmdline())
                or str(scene.stack.var / "valkey.sock") in " ".join(child.cmdline()))


@contextmanager
def slow_judge() -> Iterator[JudgeServer]:
    with judge_server() as judge:
        handler = judge.RequestHandlerClass

        class Slow(handler):  # type: ignore[misc, valid-type]
            def do_POST(self) -> None:
                time.sleep(DELAY)
                super().do_POST()

        judge.RequestHandlerClass = Slow
        yield judge


def play(name: str, scenario: Callable[[Scene], None]) -> Result:
    """One scenario from start to end."""
    servers = Servers()
    uses_servers = scenario in _ON_SERVERS
    tmpfs = scenario is fill_the_disk
    with slow_judge() as judge:
        stack = Stack()
        try:
            if uses_servers:
                servers.start()
                stack.environment |= servers.settings()
            if tmpfs:
                mount = ["mount", "-t", "tmpfs", "-o", "size=400m,mode=700", "tmpfs", str(stack.var)]
                subprocess.run(mount, check=True)
            stack.environment["OMP_NUM_THREADS"] = "1"
            visitor = Visitor(stack.start().url).login()
            began = time.monotonic()
            run = visitor.start_run("demo", **RUN, judge__base_url=judge.base_url)
            scene = Scene(stack, visitor, judge, run, servers)
            scenario(scene)
            status = follow(scene)
            result = collect(scene, status, servers if uses_servers else None)
            result.seconds = time.monotonic() - began
            return result
        finally:
            stack.stop()
            if tmpfs:
                subprocess.run(["umount", "-l", str(stack.var)], check=False)
            stack.remove()
            servers.end()


def follow(scene: Scene) -> str:
    """Wait for the end; press Resume where a person is asked to, at most three times."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        try:
            status = scene.visitor.status(scene.run)
        except Exception:  # the web may be away for a moment
            time.sleep(1)
            continue
        if status == "failed" and scene.clicks < 3:
            scene.clicks += 1
            scene.visitor.post(f"/runs/{scene.run}/resume/", {}, page=f"/runs/{scene.run}/")
        elif status in {"done", "failed", "cancelled"}:
            return status
        time.sleep(1)
    return "did not end"


def collect(scene: Scene, status: str, servers: Servers | None) -> Result:
    labels: dict[tuple[str, str], float | None] = {}
    query = ("SELECT p.digest, r.name, l.probability FROM labels_label l JOIN labels_pair p ON p.id = l.pair_id "
             "JOIN principles_principleversion v ON v.id = l.principle_version_id "
             "JOIN principles_principle r ON r.id = v.principle_id")
    samples = "SELECT step, index, prompt, response, reward FROM runs_sample ORDER BY step, index"
    if servers:
        with psycopg.connect(servers.settings()["CONCORD_DATABASE_URL"]) as connection:
            rows, sampled = connection.execute(query).fetchall(), connection.execute(samples).fetchall()
    else:
        database = sqlite3.connect(f"file:{scene.stack.var / 'concord.sqlite3'}?mode=ro", uri=True)
        quoted = samples.replace("index", '"index"')
        rows, sampled = database.execute(query).fetchall(), database.execute(quoted).fetchall()
        database.close()
    for digest, principle, probability in rows:
        assert (digest, principle) not in labels, "a label is there twice"
        labels[digest, principle] = probability
    series = {tag: (points["step"], points["value"]) for tag, points in scene.visitor.series(scene.run).items()
              if not any(word in tag for word in _TIMED)}
    return Result(status, sum(scene.judge.questions.values()), labels, series, [tuple(row) for row in sampled],
                  scene.clicks)


def differences(result: Result, reference: Result) -> list[str]:
    """What is not as it was without a fault."""
    wrong = [] if result.status == "done" else [f"ended as {result.status}"]
    if result.labels != reference.labels:
        wrong.append(f"{len(result.labels)} labels for {len(reference.labels)}, or of other values")
    if result.samples != reference.samples:
        wrong.append(f"{len(result.samples)} samples for {len(reference.samples)}, or other ones")
    for tag in sorted(reference.series.keys() | result.series.keys()):
        if result.series.get(tag) != reference.series.get(tag):
            wrong.append(f"{tag} differs")
    in_flight = 4 * 2 * 4  # four at a time, two principles, at most four faults
    if result.questions > reference.questions + in_flight:
        wrong.append(f"{result.questions} questions for {reference.questions}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=SCENARIOS, help="these scenarios, after the one without a fault")
    chosen = parser.parse_args().only
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reference: Result | None = None
    failed = played = 0
    for name, scenario in SCENARIOS.items():
        if chosen and name not in chosen and reference is not None:
            continue
        result = play(name, scenario)
        reference = reference or result
        wrong = differences(result, reference)
        played, failed = played + 1, failed + bool(wrong)
        ended = "by itself" if not result.clicks else f"after {result.clicks} click{'s' * (result.clicks > 1)}"
        print(f"{name}: {result.status} {ended}, {len(result.labels)} labels, {result.questions} questions, "
              f"{len(result.series)} series, {len(result.samples)} samples, {result.seconds:.0f} s"
              + (f"; WRONG: {'; '.join(wrong[:5])}" if wrong else ""), flush=True)
    print(f"scenarios: {played} wrong: {failed}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
