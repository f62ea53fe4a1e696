"""The web process never imports torch, and never Twisted, with which Gradio's components break."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.once  # it starts what it needs itself, whatever this pass runs on


def test_the_whole_site_loads_without_them(process_env: dict[str, str]) -> None:
    code = ("import sys, webapp.asgi; webapp.asgi.pane or sys.exit('no pane'); "
            "print([name for name in ('torch', 'transformers', 'peft', 'twisted') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], env=process_env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
