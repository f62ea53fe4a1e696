"""The process that renders chat templates: a template is foreign code, and this process may be killed.

Started by `training.models.chat_templates` with the seconds of computing that one rendering may take, and with one JSON
request on each line of its standard input; it answers each with one line. A template that takes too much computing
time ends the process (SIGPROF, whose default is to kill), one that takes too much memory gets a MemoryError. Nothing
here but transformers' own renderer is imported, and no torch.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys

from transformers.utils.chat_template_utils import render_jinja_template

MEMORY = 2 * 1024**3
"""Bytes of address space; the interpreter and its modules take less than half."""
CHARACTERS, PER_CHARACTER = 1_000_000, 20
"""What a rendering may write at most: so much, and so much more per character that it was given."""


def answer(line: str, seconds: float) -> dict[str, str]:
    """The rendered text, or why there is none."""
    request = json.loads(line)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        rendered, _ = render_jinja_template(conversations=[request["messages"]], chat_template=request["template"],
                                            add_generation_prompt=True, **request["special_tokens"])
        text = str(rendered[0])
        if len(text) > CHARACTERS + PER_CHARACTER * len(line):
            return {"runaway": f"writes {len(text):,} characters"}
        return {"text": text}
    except MemoryError:
        return {"runaway": "takes more than 2 GB of memory"}
    except RecursionError:
        return {"runaway": "calls itself without an end"}
    except Exception as error:  # a template may raise anything
        return {"error": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    with contextlib.suppress(OSError, ValueError):  # some systems have no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seconds = float(sys.argv[1])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line, seconds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
