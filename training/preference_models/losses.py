"""What a preference model learns from a label: Bradley-Terry losses on the difference of two scores.

`soft` keeps the judge's probability. `hard` and `margin` are MORLAIF's (arXiv 2406.07295): the answer that the judge
held more probable was chosen, and with `margin` it has to win by the judge's |log p_A - log p_B|.
Left out: a weight per label, and a learned margin.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.config import LabelUse

MOST_MARGIN = 10.0
"""A certain label has infinite log-odds; MORLAIF's judge has at most 10 nats between its two letters."""


def soft_bradley_terry(difference: Tensor, probability: Tensor) -> Tensor:
    """-p log sigmoid(d) - (1 - p) log sigmoid(-d), elementwise.

    Args:
        difference: score of `a` minus score of `b`, any shape.
        probability: that `a` is the better one, of that shape.
    """
    return -probability * logsigmoid(difference) - (1 - probability) * logsigmoid(-difference)


def label_loss(use: LabelUse, difference: Tensor, probability: Tensor) -> Tensor:
    """The loss of each label, elementwise; 0, and no gradient, where a label is missing.

    With s = +1 where p > 1/2 and -1 where p < 1/2, `hard` is -log sigmoid(s d) and `margin` is
    -log sigmoid(s d - m) with m = |log p - log(1 - p)|, at most 10. At p = 1/2 nobody was chosen: all three agree.

    Args:
        use: "soft", "hard" or "margin".
        difference: score of `a` minus score of `b`, any shape.
        probability: that `a` is the better one, of that shape; NaN where there is no label.
    """
    has_label = ~probability.isnan()
    label = probability.nan_to_num(0.5)
    target = label if use == "soft" else torch.where(label == 0.5, 0.5, (label > 0.5).to(label.dtype))
    if use == "margin":
        # The margin lowers the score of the chosen response: it is subtracted from d where `a` was chosen, else added.
        difference = difference - torch.logit(label.double()).clamp(-MOST_MARGIN, MOST_MARGIN).to(difference.dtype)
    return torch.where(has_label, soft_bradley_terry(difference, target), 0.0)
