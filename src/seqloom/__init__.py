"""seqloom: sequences in, sequences out, with recurrent networks.

import seqloom
model = seqloom.fit("recipe.yaml", data)
model.predict(data)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqloom.recipe import Recipe, load_recipe
    from seqloom.sequences import Sequences
    from seqloom.trained import Trained, fit, load

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used, so that the command line starts at once.
_HOMES = {
    "Recipe": "seqloom.recipe",
    "Sequences": "seqloom.sequences",
    "Trained": "seqloom.trained",
    "fit": "seqloom.trained",
    "load": "seqloom.trained",
    "load_recipe": "seqloom.recipe",
}
__all__ = ["Recipe", "Sequences", "Trained", "__version__", "fit", "load", "load_recipe"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqloom' has no attribute {name!r}; it has {', '.join(__all__)}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
