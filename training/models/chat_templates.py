"""Renders chat templates in a separate process that can be killed, so that every rendering ends, in any thread.

A template comes with a model and is a program: it may refuse a dialogue, loop for ever, or produce endless output. One
process renders for all models of this one, one request at a time; it is started at the first request, ends with this
process, and is restarted after a template has had it killed. It gets no environment, and so no secrets.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.dialogue import Dialogue

SECONDS = 5.0
"""CPU seconds that one rendering may take; a normal template takes a ten-thousandth of it."""
PATIENCE = 300.0
"""Timeout in seconds for a process that does not answer; its own CPU limit ends it long before."""


class TemplateRefusal(Exception):  # noqa: N818 - what a template says, to be put into the words of who asked
    """The template raised an error for a dialogue; the argument is its message."""


class TemplateRunaway(Exception):  # noqa: N818
    """The template took too much time or memory; the argument says which, as the end of a sentence."""


class _Renderer:
    """The process, and the lock of the threads that use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def render(self, request: Mapping[str, Any]) -> str:
        line = json.dumps(request, default=str) + "\n"
        with self._lock:
            reply = self._ask(line)
        if "text" in reply:
            return reply["text"]
        if "error" in reply:
            raise TemplateRefusal(reply["error"])
        raise TemplateRunaway(reply["runaway"])

    def _ask(self, line: str) -> dict[str, str]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            answer = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            answer = ""
        if answer:
            reply: dict[str, str] = json.loads(answer)
            return reply
        self.close()
        if process.returncode == -signal.SIGPROF:
            return {"runaway": f"takes more than {SECONDS:g} seconds of computing time"}
        return {"runaway": f"ended its process ({process.returncode})"}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-X", "utf8", str(Path(__file__).with_name("template_process.py")),
                 str(SECONDS)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
                start_new_session=True,
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"})
        return self._process

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


_renderer = _Renderer()
atexit.register(_renderer.close)


def render(tokenizer: Any, dialogue: Dialogue) -> str:
    """The text after which a model writes its reply, by its tokenizer's chat template.

    Raises:
        TemplateRefusal: the template does not accept the dialogue.
        TemplateRunaway: the template exceeds its limits of time or memory.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, and none of them is the default
        raise TemplateRefusal(str(error)) from error
    return _renderer.render({"template": template, "messages": dialogue,
                             "special_tokens": tokenizer.special_tokens_map})
