"""The judge and the prompts serve the web, which must never load torch."""

from __future__ import annotations

import subprocess
import sys


def test_all_but_the_build_script_leave_torch_alone() -> None:
    code = (
        "import sys; from training.demo_world import WEIGHTS, language, rules, world; "
        "assert 'transformers' not in sys.modules; "
        "from training.demo_world import tokenizer; tokenizer.build_tokenizer(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
