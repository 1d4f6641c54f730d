"""The text that was read, as it stands: the naive translation, and a good one of names and numbers."""

from __future__ import annotations

from collections.abc import Sequence


class Copy:
    """Nothing to learn."""

    def write(self, texts: Sequence[str]) -> list[str]:
        """The texts."""
        return list(texts)
