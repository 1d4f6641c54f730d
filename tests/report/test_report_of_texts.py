"""What the report says about texts that were answered wrongly."""

from __future__ import annotations

from typing import cast

import polars as pl

from seqloom.report.run_files import Output, RunFiles
from seqloom.report.sections.worst import worst


def test_the_texts_of_the_surest_mistakes_are_shown() -> None:
    rows = pl.DataFrame(
        {
            "id": ["1", "2", "3"],
            "y": ["sad", "sad", "glad"],
            "y_hat": ["sad", "glad", "sad"],
            "p-sad": [0.9, 0.3, 0.8],
            "p-glad": [0.1, 0.7, 0.2],
            "review": ["so dull", "so <b>good</b>", "not dull"],
        }
    )
    page = str(worst(cast(RunFiles, None), Output("mood", "category", {}, rows, {})))
    assert page.index("not dull") < page.index("so &lt;b&gt;good&lt;/b&gt;"), "the surest first, no markup"
    assert "so dull" not in page
    assert "review" in page
