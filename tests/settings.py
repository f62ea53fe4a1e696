"""Settings of the tests: those of the laptop, in a temporary folder, with a Valkey server that `conftest` starts.

The services named by CONCORD_DATABASE_URL and CONCORD_REDIS_URL are used instead where they are given. Processes that
tests start load this module too, and find the test database by CONCORD_TEST_DATABASE.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "CONCORD_TEST_VAR" not in os.environ:
    os.environ["CONCORD_TEST_VAR"] = tempfile.mkdtemp(prefix="concord-")  # short: a socket's path has 100 bytes
    atexit.register(shutil.rmtree, os.environ["CONCORD_TEST_VAR"], ignore_errors=True)
_VAR = Path(os.environ["CONCORD_TEST_VAR"], os.environ.get("PYTEST_XDIST_WORKER", "main"))
_VAR.mkdir(exist_ok=True)
os.environ["CONCORD_VAR"] = str(_VAR)

from webapp.settings import *  # noqa: E402, F403
from webapp.settings import DATABASES  # noqa: E402

SECRET_KEY = "only-for-tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LEASE_SECONDS = 4
if "CONCORD_TEST_DATABASE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["CONCORD_TEST_DATABASE"]
