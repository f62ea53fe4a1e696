"""The numbers of the paper, to compare with the results here (arXiv 2406.07295).

They are read off its plots, to 0.002. Left out: the human evaluation of Llama-2-7b, since no person is asked here.
"""

from __future__ import annotations

MODELS = ("GPT-2-medium", "GPT-2-large", "GPT-2-XL", "Gemma-2b", "Llama-2-7b")
WORST_PM = (0.713, 0.725, 0.734, 0.790, 0.810)
BEST_PM = (0.816, 0.822, 0.831, 0.859, 0.869)
LINEAR = (0.716, 0.717, 0.717, 0.736, 0.739)
SINGLE_PM = (0.678, 0.682, 0.686, 0.708, 0.716)
CEILING = 0.825
MULTI_OVER_SINGLE = (0.841, 0.696, 0.767, 0.623, 0.646)
FUNCTION_OVER_SINGLE = (0.83, 0.86)
FUNCTIONS_AMONG_THEMSELVES = (0.42, 0.58)
ABLATION = (0.73, 0.64)
"""Combined accuracy with all principles, and with one left (Llama-2-7b)."""
AGREEMENT = {("conciseness", "detail"): 0.41, ("helpfulness", "relevance"): 0.86, ("sycophancy", "overall"): 0.51}


def span(values: tuple[float, ...]) -> str:
    """'62.3 to 84.1 %'."""
    return f"{100 * min(values):.1f} to {100 * max(values):.1f} %"
