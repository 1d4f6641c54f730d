"""How often each gate sits where its function is flat."""

from __future__ import annotations

from torch import Tensor

from seqloom.doctor.walk import Walk

# At 0.95 (or 0.05) a sigmoid passes 0.05 * 0.95 = 5 % of a gradient, a fifth of what it passes at 0.5; a tanh at
# 0.95 passes 10 % of what it passes at 0.
FLAT = 0.05


def saturated_shares(steps: Walk) -> dict[str, float]:
    """By gate, the share of all steps and units where its function is flat."""
    values = steps.values or {}
    return {gate: _flat(values[gate], function).float().mean().item() for gate, function in steps.functions.items()}


def _flat(value: Tensor, function: str) -> Tensor:
    if function == "sigmoid":
        return (value < FLAT) | (value > 1 - FLAT)
    return value.abs() > 1 - FLAT
