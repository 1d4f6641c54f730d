"""Checkpoints that survive a crash at any moment.

A checkpoint is a directory `step-00000100` with

    tensors.safetensors   weights, optimiser moments, carried state
    state.json            everything else
    manifest.json         the size and SHA-256 of the two

It is written under a temporary name, forced to the disk and renamed, so a step is there in full or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from seqloom.errors import CheckpointError, SavedFileError, UsageError
from seqloom.saving import JSON, explained, read_json, read_tensors, sync, write_json, write_tensors

VERSION = 1

_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_STEP = re.compile(r"step-(\d{8,})(\.old-.+)?")
_TEMPORARY = re.compile(r"step-\d{8,}\.tmp-(\d+)-.+")
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read; `skipped` says which newer ones could not be used, and why."""

    step: int
    tensors: dict[str, Tensor]
    document: JSON
    path: Path
    skipped: list[str]


def save_checkpoint(directory: Path, step: int, tensors: Mapping[str, Tensor], document: JSON, keep: int = 2) -> Path:
    """Save one step, then remove older ones so that `keep` (at least 2) remain.

    `directory` is made if its parent exists. After a failure (CheckpointError) earlier steps are as they were.
    Processes that save in one directory take turns.
    """
    if step < 0 or keep < 2:
        raise UsageError(f"step {step} and keep {keep} received, expected step >= 0 and keep >= 2: correct them")
    final = directory / f"step-{step:08d}"
    with _reported(final), explained(directory):
        directory.mkdir(exist_ok=True)
        with _lock(directory):
            _write(final, step, tensors, document)
            _prune(final, step, keep)
    return final


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read the newest step whose content matches its manifest; damaged ones are skipped and reported.

    Raises CheckpointError when no step can be used.
    """
    skipped: list[str] = []
    with explained(directory, error=CheckpointError):
        steps = _steps(directory)
    for path, step in steps:
        try:
            return _read(path, step, skipped)
        except SavedFileError as problem:
            skipped.append(str(problem))
    found = "; ".join(skipped) or "no directory called step-N"
    raise CheckpointError(f"{directory}: expected a valid checkpoint, found {found}: train from the start")


@contextmanager
def _reported(final: Path) -> Iterator[None]:
    try:
        yield
    except SavedFileError as problem:
        raise CheckpointError(f"{final}: not saved, earlier checkpoints are as they were: {problem}") from problem


def _write(final: Path, step: int, tensors: Mapping[str, Tensor], document: JSON) -> None:
    temporary = _beside(final, "tmp")
    try:
        temporary.mkdir()
        write_tensors(temporary / _TENSORS, tensors, {})
        write_json(temporary / _STATE, document)
        write_json(temporary / _MANIFEST, _manifest(temporary, step))  # each write also syncs the directory
        _install(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(final.parent)


def _install(temporary: Path, final: Path) -> None:
    """Give the step its name; one that has it already can be loaded under another until then."""
    if not final.exists():
        return os.replace(temporary, final)
    former = _beside(final, "old")
    os.replace(final, former)
    try:
        os.replace(temporary, final)
    except OSError:
        os.replace(former, final)
        raise
    return None


def _beside(final: Path, kind: str) -> Path:
    return final.with_name(f"{final.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def _read(path: Path, step: int, skipped: list[str]) -> Checkpoint:
    received = read_json(path / _MANIFEST, CheckpointError)
    version = received.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"{path}: written by a newer seqloom, format {version}; this one reads up to {VERSION}: upgrade seqloom"
        )
    if received != _manifest(path, step):
        raise CheckpointError(f"{path}: its files do not match its manifest, so it was changed: restore it")
    tensors, _ = read_tensors(path / _TENSORS, CheckpointError)
    return Checkpoint(step, tensors, read_json(path / _STATE, CheckpointError), path, skipped)


def _manifest(path: Path, step: int) -> JSON:
    """What the manifest must say about the files as they are."""
    files = {name: _describe(path / name) for name in (_TENSORS, _STATE)}
    return {"format": "seqloom-checkpoint", "version": VERSION, "step": step, "files": files}


def _describe(path: Path) -> JSON:
    with explained(path, error=CheckpointError), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _steps(directory: Path) -> list[tuple[Path, int]]:
    """Steps in a directory, the newest first by number; one that was being replaced comes after its successor."""
    matches = [(path, _STEP.fullmatch(path.name)) for path in directory.iterdir()]
    steps = [(path, int(match[1])) for path, match in matches if match]
    return sorted(steps, key=lambda item: (-item[1], item[0].name))


def _prune(final: Path, step: int, keep: int) -> None:
    """Remove what the step just saved makes superfluous.

    Higher steps stay: they belong to another process, or were damaged and are for the user to look at.
    A failure is no reason to stop training; the next save tries again.
    """
    with suppress(OSError):
        kept = 1
        for path, number in _steps(final.parent):
            if path == final or number > step:
                continue
            if number < step and kept < keep and _whole(path):
                kept += 1
            else:
                _discard(path)
        for path in final.parent.iterdir():
            match = _TEMPORARY.fullmatch(path.name)
            if match and not _belongs_to_another(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def _whole(path: Path) -> bool:
    """Whether the files have the sizes of the manifest; the loader also compares their checksums."""
    try:
        files = read_json(path / _MANIFEST)["files"]
        return all((path / name).stat().st_size == files[name]["bytes"] for name in (_TENSORS, _STATE))
    except (SavedFileError, OSError, KeyError, TypeError):
        return False


def _discard(path: Path) -> None:
    """Remove a step; under a temporary name first, so that half of it is never taken for a step."""
    doomed = _beside(path.with_name(path.name.partition(".")[0]), "tmp")
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _belongs_to_another(pid: int) -> bool:
    """Whether another process with this number lives; what bears our own was left behind, as we hold the lock."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, but is not ours to signal
        return True
    return True


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, which the system releases when a process dies."""
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(handle, directory)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, directory: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            if time.monotonic() > deadline:
                raise CheckpointError(
                    f"{directory}: another process has been saving here for {_LOCK_SECONDS:g} s, expected one "
                    "training per run directory: stop it, or train in another directory"
                ) from problem
        time.sleep(0.02)
