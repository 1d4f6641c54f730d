"""Cross-entropy against some items drawn for each step of training, where all of them would take too long.

Source: Bengio and Senécal, Adaptive Importance Sampling (2008), section III, with the one set of drawn items for all
questions of a batch that Jean et al. (2015) use. The sum over all items in the softmax is estimated without bias:

    Z = exp(score of the target) + sum over draws k, not the target, of exp(score of k) / E[times k is drawn]

Items are drawn log-uniformly, which is how often they occur where Zipf's law holds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def sampled_softmax_loss(query: Tensor, weight: Tensor, bias: Tensor, target: Tensor, samples: int) -> Tensor:
    """Mean of -ln(exp(score of the target) / Z).

    Args:
        query: (n, E).
        weight: (V, E), items in falling frequency.
        bias: (V,).
        target: (n,) int64 in 0..V-1.
        samples: draws, at least 1.
    """
    drawn = log_uniform(samples, len(weight))
    against = query @ weight[drawn].t() + (bias[drawn] - log_expected(drawn, samples, len(weight)))
    # A draw that is the target itself would be counted twice.
    against = against.masked_fill(drawn == target.unsqueeze(1), -math.inf)
    own = (query * weight[target]).sum(dim=1) + bias[target]
    scores = torch.cat([own.unsqueeze(1), against], dim=1)
    return cross_entropy(scores, torch.zeros_like(target))


def log_uniform(samples: int, items: int) -> Tensor:
    """(samples,) different or equal items k with probability ln((k + 2) / (k + 1)) / ln(items + 1)."""
    drawn = torch.rand(samples, dtype=torch.float64).mul_(math.log(items + 1)).exp_().long() - 1
    return drawn.clamp_(0, items - 1)


def log_expected(items: Tensor, samples: int, count: int) -> Tensor:
    """Logarithm of how often each item is expected among so many draws out of `count` items."""
    rank = items.to(torch.get_default_dtype())
    return torch.log(samples * torch.log1p(1 / (rank + 1)) / math.log(count + 1))
