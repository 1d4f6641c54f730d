"""`Watcher`: whoever wants to see training go on, such as a progress bar."""

from __future__ import annotations


class Watcher:
    """Is told how training goes; this one looks away, and others see what they want to see."""

    def step(self, step: int, loss: float) -> None:
        """A step is done."""

    def validation(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """A validation is done."""

    def note(self, text: str) -> None:
        """Something a person may want to know."""

    def warn(self, text: str) -> None:
        """Something a person should look into; a note where nothing else is done about it."""
        self.note(text)
