"""A process that knows transformers and nothing of ours: what it says of a model is what anybody gets who loads it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

CODE = """
import json, sys, torch, transformers
for line in sys.stdin:
    kind, folder, ids = json.loads(line)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits.tolist()
    print(json.dumps({"logits": logits, "labels": model.config.id2label,
                      "foreign": [name for name in sys.modules if name.split(".")[0] in ("training", "peft")]}),
          flush=True)
"""


@cache
def process() -> subprocess.Popen[str]:
    """One for all tests, as it takes seconds to start; it ends when their end closes its input."""
    command = [sys.executable, "-I", "-c", CODE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def in_a_bare_process(kind: str, folder: Path, ids: list[int]) -> dict[str, Any]:
    """Logits and labels of the model in a folder, for one row of tokens."""
    bare = process()
    assert bare.stdin and bare.stdout
    print(json.dumps([kind, str(folder), ids]), file=bare.stdin, flush=True)
    line = bare.stdout.readline()
    assert line, "the bare process failed: its error is in the captured stderr"
    answer: dict[str, Any] = json.loads(line)
    assert answer["foreign"] == []
    return answer
