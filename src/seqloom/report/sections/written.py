"""Texts that were written: what was found for some examples, with every further text of the beam and its score."""

from __future__ import annotations

from seqloom.report.html import Html, note, section, table
from seqloom.report.numbers import number
from seqloom.report.run_files import Output
from seqloom.report.sections.worst import texts_read

SHOWN = 10


def written(output: Output) -> Html | None:
    """Ten examples, evenly spread over the test part; nothing for other kinds."""
    frame = output.predictions
    if output.kind != "text" or frame is None or not {"id", "y", "y_hat", "score", "greedy"} <= set(frame.columns):
        return None
    places = [k * (len(frame) - 1) // max(SHOWN - 1, 1) for k in range(min(SHOWN, len(frame)))]
    others = [column.removeprefix("y_hat") for column in frame.columns if column.startswith("y_hat-")]
    read, rows = texts_read(frame), []
    for row in frame[places].iter_rows(named=True):
        rows += [[row["id"] if k == 0 else "", name, row[name], ""] for k, name in enumerate(read)]
        rows.append(["" if read else row["id"], "right", row["y"], ""])
        rows += [["", f"text {k}", row[f"y_hat{s}"], number(row[f"score{s}"])] for k, s in enumerate(["", *others], 1)]
        rows.append(["", "greedy", row["greedy"], ""])
    said = "The score is the log-probability of the whole text, its end included, as the model gives it."
    return section(f"Texts{output.of}", table(["example", "which", "text", "score"], rows), note(said))
