"""`write_report`: the sections of a run put together into one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from seqloom.report.html import Html, element, join
from seqloom.report.run_files import Output, RunFiles, read_run
from seqloom.report.sections.attention import attention
from seqloom.report.sections.background import environment, ledger, model, recipe
from seqloom.report.sections.calibration import calibration
from seqloom.report.sections.coming import coming
from seqloom.report.sections.confusion import confusion
from seqloom.report.sections.coverage import coverage
from seqloom.report.sections.data import data
from seqloom.report.sections.doctor import doctor
from seqloom.report.sections.gates import gates
from seqloom.report.sections.learning import learning
from seqloom.report.sections.rivals import rivals
from seqloom.report.sections.scatter import scatter
from seqloom.report.sections.series import series
from seqloom.report.sections.steps import steps
from seqloom.report.sections.summary import summary
from seqloom.report.sections.windows import windows
from seqloom.report.sections.worst import worst
from seqloom.report.sections.written import written

# the browser itself refuses anything the page might try to load
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def write_report(run: Path) -> Path:
    """Write `report.html` into a run directory and return its path.

    Every part is optional: what is missing is said on the page, with the command that makes it.

    Raises:
        RunDirectoryError: `run` is not a directory.
    """
    page = run / "report.html"
    text = _page(read_run(run))
    unfinished = page.with_suffix(".html.partial")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(page)
    return page


def _sections(run: RunFiles) -> Iterator[Html | None]:
    yield summary(run)
    yield coming(run)
    yield data(run)
    for output in run.outputs:
        yield from _answers(run, output)
    yield learning(run)
    yield doctor(run)
    yield gates(run)
    yield ledger(run)
    yield model(run)
    yield recipe(run)
    yield environment(run)


def _answers(run: RunFiles, output: Output) -> Iterator[Html | None]:
    yield windows(run, output)
    yield rivals(run, output)
    yield coverage(output)
    yield steps(output)
    yield series(output)
    yield confusion(output)
    yield calibration(output)
    yield scatter(output)
    yield worst(run, output)
    yield written(output)
    yield attention(run, output)


def _page(run: RunFiles) -> str:
    from plotly.offline import get_plotlyjs

    title = f"Report of {run.path.resolve().name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _asset("style.css")),
    )
    body = element(
        "body",
        element("header", element("p", "seqloom", class_="brand"), element("h1", title)),
        element("main", *_sections(run)),
        element("script", Html(get_plotlyjs())),
        element("script", _asset("page.js")),
    )
    return join([Html("<!doctype html>"), element("html", head, body, lang="en")])


def _asset(name: str) -> Html:
    return Html(files("seqloom.report").joinpath(name).read_text("utf-8"))
