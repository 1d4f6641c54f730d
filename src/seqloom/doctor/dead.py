"""Units that say the same whatever they read."""

from __future__ import annotations

from seqloom.doctor.walk import Walk

# A living unit moves by a tenth of its range or more. One that moves less than a hundredth of the others, or less
# than a thousandth at all, tells the next layer nothing that a bias would not.
RELATIVE, ABSOLUTE = 0.01, 1e-3


def dead_share(steps: Walk) -> float:
    """The share of units whose output hardly varies over all steps of all rows."""
    deviation = steps.outputs.std(dim=0, correction=0)
    least = max(RELATIVE * deviation.median().item(), ABSOLUTE)
    return (deviation < least).float().mean().item()
