"""What a run writes down as it goes: one JSON line for each event, and TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqloom.saving import write_bytes_atomic


class Journal:
    """`log.jsonl` and `tensorboard/` in a run directory.

    Losses are written twice, as a decimal number and in hexadecimal, which is exact.

    Args:
        run: the run directory.
        step: last step that counts; later lines, left by an interrupted run, are dropped.
    """

    def __init__(self, run: Path, step: int = -1) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.path = run / "log.jsonl"
        kept = [line for line in _lines(self.path) if _counts(json.loads(line), step)]
        write_bytes_atomic(self.path, "".join(kept).encode())
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def train(
        self,
        step: int,
        loss: float,
        lr: float,
        epoch: float,
        seconds: float,
        norm: float,
        updates: dict[str, float],
    ) -> None:
        """One training step: `norm` of its gradient before clipping; `updates` by part of the model, where measured."""
        event = {"step": step, "epoch": epoch, "loss": loss, "loss_hex": loss.hex(), "lr": lr, "seconds": seconds}
        self._write(event | {"norm": norm} | ({"updates": updates} if updates else {}))
        self._board.add_scalar("train/norm", norm, step)
        for part, ratio in updates.items():
            self._board.add_scalar(f"updates/{part}", ratio, step)
        self._board.add_scalar("train/loss", loss, step)
        self._board.add_scalar("train/lr", lr, step)

    def valid(self, step: int, epoch: float, metrics: dict[str, float]) -> None:
        """One validation."""
        self._write({"step": step, "epoch": epoch, "valid": metrics, "loss_hex": metrics["loss"].hex()})
        for name, value in metrics.items():
            self._board.add_scalar(f"valid/{name}", value, step)

    def doctor(self, step: int, epoch: float, diagnoses: list[dict[str, Any]], took: float) -> None:
        """One look of the doctor, in `took` seconds."""
        self._write({"step": step, "epoch": epoch, "doctor": diagnoses, "took": took})
        self._board.add_text("doctor", ", ".join(diagnosis["name"] for diagnosis in diagnoses) or "healthy", step)

    def mean(self, step: int, kind: str, steps: list[int], metrics: dict[str, float], kept: bool) -> None:
        """The mean of weights at some validations, measured at the end, and whether it is kept."""
        found = {"step": step, "mean_of": steps, "kind": kind, "mean": metrics, "kept": kept}
        self._write({**found, "loss_hex": metrics["loss"].hex()})

    def close(self) -> None:
        """Everything is on disk from here on."""
        self._file.close()
        self._board.close()

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def read_log(run: Path) -> list[dict[str, Any]]:
    """The whole lines of `log.jsonl`; none where it is not there."""
    return [json.loads(line) for line in _lines(run / "log.jsonl")]


def _counts(line: dict[str, Any], step: int) -> bool:
    """Whether a line is of the part of the run that is not done again; what is measured at its end always is."""
    return bool(line["step"] <= step) and "mean_of" not in line


def _lines(path: Path) -> list[str]:
    """Whole lines; a last one without an end was cut off by a kill."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
