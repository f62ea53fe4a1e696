"""A PostgreSQL cluster and a Redis server of a benchmark's own, which it may stop and start: for faults.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import redis
import repository  # noqa: F401

from tests.processes import free_port, wait_for


class Servers:
    """A PostgreSQL cluster and a Redis server of this benchmark's own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="concord-servers-"))
        self.folder.chmod(0o777)
        self.postgres_port, self.redis_port = free_port(), free_port()
        self._redis: subprocess.Popen[bytes] | None = None
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def settings(self) -> dict[str, str]:
        return {"CONCORD_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.postgres_port}/postgres",
                "CONCORD_REDIS_URL": self.redis_url}

    def start(self) -> None:
        self._as_postgres("initdb", "-D", "data", "-A", "trust", "-U", "postgres")
        self.start_postgresql()
        self.start_redis()

    def start_postgresql(self) -> None:
        self._as_postgres("pg_ctl", "-D", "data", "-w", "-l", "log", "-o",
                          f"-p {self.postgres_port} -c listen_addresses=127.0.0.1 -k {self.folder}", "start")

    def stop_postgresql(self) -> None:
        self._as_postgres("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def start_redis(self) -> None:
        self._redis = subprocess.Popen(
            ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--dir",
             str(self.folder)], stdout=subprocess.DEVNULL)
        wait_for("redis", self._redis_answers, 20)

    def stop_redis(self) -> None:
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()

    def end(self) -> None:
        self.stop_redis()
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop_postgresql()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _redis_answers(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.redis_url).ping())
        except redis.RedisError:
            return False

    def _as_postgres(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:  # PostgreSQL does not run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
