"""The demo world: a small generated language in which principles are decided by rule, and a policy that speaks it.

It stands in for a real corpus, a real policy and a paid judge, so that a whole run can be seen, and tested, on a laptop
in minutes. `world` holds the facts of the Lantern Isles, `language` the questions and the answers, `rules` the judge,
`tokenizer` the vocabulary, and `build` (the only module here that imports torch) trains the policy kept in `WEIGHTS`.

Left out on purpose: anything a rule cannot decide. Nothing measured here says how a method does on real text.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS: Path = Path(__file__).resolve().parent / "weights"
"""The folder of the shipped base policy, for `AutoModelForCausalLM` and `AutoTokenizer`."""
