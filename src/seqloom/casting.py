"""What automatic casting (`torch.autocast`) does to products on the CPU."""

from __future__ import annotations

import torch


def casts_to_bfloat16() -> bool:
    """Whether they are products of bfloat16 here."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
