"""The page in a real browser, at desktop and phone width; skipped where there is none."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from seqloom.report import write_report

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH to open the page with")

# a browser window cannot be as narrow as a phone, a frame inside it can
FRAME = """<!doctype html><iframe src="{page}" style="width:{width}px;height:800px;border:0"></iframe>
<pre id="seen"></pre><script>
onload = () => setTimeout(() => {{
  const inside = document.querySelector("iframe"), page = inside.contentDocument;
  document.querySelector("#seen").textContent = JSON.stringify({{
    plots: page.querySelectorAll(".main-svg").length,
    figures: page.querySelectorAll("figure.chart").length,
    drawn: [...page.querySelectorAll("figure.chart")].filter((one) => one.querySelector(".main-svg")).length,
    wide: page.documentElement.scrollWidth,
    width: inside.contentWindow.innerWidth,
    overflowing: [...page.querySelectorAll(".main-svg")].filter(
      (one) => one.getBoundingClientRect().right > inside.contentWindow.innerWidth).length,
    loaded: inside.contentWindow.performance.getEntriesByType("resource").map((one) => one.name),
    links: page.querySelectorAll("nav a").length,
    sliders: page.querySelectorAll("input[type=range]").length,
  }});
}}, 3000);
</script>"""


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Path, int], dict[str, object]]:
    def look(page: Path, width: int) -> dict[str, object]:
        frame = tmp_path / f"frame-{width}.html"
        frame.write_text(FRAME.format(page=page.as_uri(), width=width), encoding="utf-8")
        command = [
            *(
                str(BROWSER),
                "--headless=new",
                "--no-sandbox",
                "--hide-scrollbars",
                "--disable-gpu",
                "--window-size=1400,900",
            ),
            *("--allow-file-access-from-files", "--virtual-time-budget=15000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", frame.as_uri()),
        ]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        found = re.search(r'<pre id="seen">(.+?)</pre>', dom)
        assert found, dom[-2000:]
        return dict(json.loads(unescape(found[1])))

    return look


@pytest.mark.parametrize("width", [1280, 390])
def test_every_plot_is_drawn_and_the_page_fits(
    make_run: Callable[..., Path], look: Callable[[Path, int], dict[str, object]], width: int
) -> None:
    seen = look(write_report(make_run()), width)
    assert seen["figures"] == seen["drawn"] == 13
    assert seen["plots"] >= 12
    assert seen["width"] == width
    assert seen["wide"] == width, "the page scrolls sideways"
    assert seen["overflowing"] == 0
    assert seen["loaded"] == []
    assert seen["links"] == 21
    assert seen["sliders"] == 1


def test_an_empty_run_opens_too(tmp_path: Path, look: Callable[[Path, int], dict[str, object]]) -> None:
    (tmp_path / "run").mkdir()
    seen = look(write_report(tmp_path / "run"), 390)
    assert (seen["figures"], seen["links"], seen["wide"]) == (0, 6, 390)


@pytest.mark.parametrize("width", [1280, 390])
def test_gates_gradients_and_attention_are_drawn(
    tmp_path: Path, look: Callable[[Path, int], dict[str, object]], width: int
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    part = {"name": "c", "kind": "state", "values": [[0.1 * step for step in range(50)]] * 16}
    layer = {"name": "layer 1", "units": list(range(1, 17)), "first": 1, "parts": [part]}
    inputs = [{"name": "x", "numbers": list(range(50))}, {"name": "word", "words": ["(", ")"] * 25}]
    example = {"id": "a", "inputs": inputs, "layers": [layer]}
    gates = {"examples": [example, example], "steps_per_core_step": 1, "followers": []}
    curve = {"name": "layer 1", "gradient_by_lag": [0.5**lag for lag in range(40)]}
    found = {"diagnoses": [], "layers": [curve], "reach": {"steps": None, "reason": "no lag was found to matter"}}
    text = {"id": "a", "inputs": inputs[1:], "first": 1, "tokens": ["word"] * 30, "score": -1.0}
    maps = {"steps_per_core_step": 1, "outputs": {"reply": [{**text, "weights": [[0.02] * 50] * 30}] * 2}}
    for name, document in {"gates": gates, "doctor": found, "attention": maps}.items():
        (run / f"{name}.json").write_text(json.dumps(document))
    (run / "predictions").mkdir()
    (run / "predictions" / "reply.csv").write_text("id,y,y_hat,score,greedy\na,b,c,-1.5,d\n")
    seen = look(write_report(run), width)
    assert seen["figures"] == seen["drawn"] == 3
    assert (seen["wide"], seen["overflowing"], seen["sliders"]) == (width, 0, 2)
