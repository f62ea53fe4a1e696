"""Scores normalised within the group of answers to one prompt, each principle on its own (GDPO, arXiv 2601.05242).

GRPO normalises the sum of the principles, so that the one that varies most decides; here each has mean 0 and deviation
1 in its group before it is weighted. What comes after the sum is TRL's: the group's mean is subtracted, and all is
divided by the deviation of the batch.
"""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-4
"""Added to a deviation before it divides: TRL's, so that both ways of GRPO treat nearly equal answers the same."""


def normalised_in_groups(scores: Tensor, group_size: int) -> Tensor:
    """(z - mean) / (sd + epsilon) of each principle in each group, [batch, principle] -> [batch, principle].

    A principle on which all answers of a group are equal is 0 there exactly: what rounding leaves of the differences
    is not divided by the epsilon.

    Args:
        scores: the answers to one prompt stand together, `group_size` of them.
    """
    groups = scores.view(-1, group_size, scores.shape[1])
    centred = groups - groups.mean(dim=1, keepdim=True)
    are_alike = groups.amax(dim=1, keepdim=True) == groups.amin(dim=1, keepdim=True)
    normalised = centred / (groups.std(dim=1, keepdim=True) + EPSILON)
    return normalised.masked_fill(are_alike, 0).view_as(scores)
