"""How often things were liked: by everyone, by those who rated the same item, and by the same user so far."""

from __future__ import annotations

import numpy as np

from seqloom.rivals.rival import Codes, Floats

PRIOR = 5.0  # ratings as liked as all are, which every share of few ratings begins with


class Liking:
    """Shares of what was liked among what was rated, those of few ratings shrunk towards that of all.

    Args:
        liked: (V,) how often each item was liked in the training part.
        rated: (V,) how often it was rated there.
    """

    def __init__(self, liked: Codes, rated: Codes) -> None:
        self.share = float(liked.sum() / max(rated.sum(), 1))
        self.items = self.shrunk(liked, rated)

    def shrunk(self, liked: Codes, rated: Codes) -> Floats:
        """(...,) the share of liked among rated, with `PRIOR` ratings more."""
        found: Floats = (liked + PRIOR * self.share) / (rated + PRIOR)
        return found

    def both(self, item: Floats, user: Floats) -> Floats:
        """(...,) as if item and user moved the odds of all independently: odds = item * user / all."""
        odds = np.exp(_log_odds(item) + _log_odds(user) - _log_odds(np.array(self.share)))
        return np.asarray(odds / (1 + odds))


def _log_odds(share: Floats) -> Floats:
    return np.asarray(np.log(share) - np.log1p(-share))
