"""Search for the text that a model finds likely: greedy, beam, sampling.

Every search is a function over a step function and knows no model. See `Step` for what it asks of one.
"""

from seqloom.search.beam import beam
from seqloom.search.greedy import greedy
from seqloom.search.sampling import sample
from seqloom.search.step import Found, Next, Step

__all__ = ["Found", "Next", "Step", "beam", "greedy", "sample"]
