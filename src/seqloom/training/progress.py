"""A progress bar with loss, metric, rate and time left; silent where nobody watches."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqloom.training.watcher import Watcher


class ProgressBar(Watcher):
    """Watches training on a terminal; elsewhere it is silent, and `log.jsonl` has every step.

    Args:
        steps: steps at most.
        console: where to draw.
    """

    def __init__(self, steps: int, console: Console) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[valid]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, loss=float("nan"), valid="", rate="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Move on."""
        speed = self._bar.tasks[self._task].speed
        self._bar.update(self._task, completed=step, loss=loss, rate=f"{speed:.0f} steps/s" if speed else "")

    def validation(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """Show the newest validation."""
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._bar.update(self._task, valid=f"valid {shown}")

    def note(self, text: str) -> None:
        """Print it, whether anybody watches or not."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
