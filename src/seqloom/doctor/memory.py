"""How long a cell remembers, by its gates."""

from __future__ import annotations

from seqloom.doctor.walk import Walk

LONGEST = 1e6  # a gate that never forgets would remember for ever


def memory_steps(steps: Walk) -> float | None:
    """Effective memory of the layer's longest units: 1 / (1 - mean share kept), at the 90th percentile of units.

    None where the cell's equations keep no share of a state.
    """
    if not steps.shares:
        return None
    memories = [1 / (1 - share.mean(dim=0)).clamp(min=1 / LONGEST) for share in steps.shares.values()]
    return max(memory.quantile(0.9).item() for memory in memories)
