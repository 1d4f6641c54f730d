"""Tensors and JSON on disk: versioned, checksummed, replaced in one step. Knows no model.

A `.seqloom` file is a safetensors file, so loading one cannot run code. Its `__metadata__` holds

    format    "seqloom"
    version   "1"
    document  JSON text with sorted keys: everything that is not a tensor
    sha256    of the whole file after its length field, with this value left empty

The header is spelled in one way only (sorted keys, ASCII, no spaces), so equal content gives equal bytes and
no bit of it can change unnoticed; the tensors are covered by the checksum.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from seqloom.errors import ArtefactError, RunDirectoryError, SavedFileError, SeqloomError

JSON: TypeAlias = dict[str, Any]
"""A JSON object. What JSON cannot hold (NaN, tensors, keys that are no text) is refused on writing."""

VERSION = 1
RUN_MARKER = "seqloom-run.json"

_MAX_HEADER = 100_000_000  # bytes; safetensors readers refuse more
_MAX_DEPTH = 64
_MAX_INTEGER = 10**100  # random generators keep integers of 128 bits

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NEXT_STEP = {
    errno.EEXIST: "something else has this name: choose another path",
    errno.ENOENT: "expected an existing path: check the spelling, or create the directory first",
    errno.ENOTDIR: "a part of the path is a file, expected a directory: choose another path",
    errno.EISDIR: "expected a file, this is a directory: choose another name",
    errno.EROFS: "expected a disk that can be written: choose another place",
    errno.EACCES: "expected permission to use it: change the permissions, or choose another place",
    errno.EPERM: "expected permission to use it: change the permissions, or choose another place",
}
_FOREIGN = {
    b"\x80": "a Python pickle, which could run code and is never loaded",
    b"PK": "a zip archive (torch.save writes these), which could hold a pickle and is never loaded",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
}


class _Refused(Exception):
    """Why content cannot be read or written; the caller adds the file's name."""


@contextmanager
def explained(path: Path, *, needed: int | None = None, error: type[SeqloomError] = SavedFileError) -> Iterator[None]:
    """Turn an OSError into `error` with the path and the next step; `needed` is in bytes."""
    try:
        yield
    except OSError as problem:
        raise error(f"{path}: {problem.strerror or problem}; {_next_step(problem, needed)}") from problem


def _next_step(problem: OSError, needed: int | None) -> str:
    if problem.errno in _NO_ROOM:
        room = "more room than is left is needed" if needed is None else f"{needed} bytes are needed"
        return f"{room}: free some space, or choose another disk"
    return _NEXT_STEP.get(problem.errno or 0, "expected a working disk: check it, then try again")


@contextmanager
def atomic_file(path: Path, *, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` in one step when the block ends without an error.

    After a failure or a crash `path` is what it was before. `needed` (bytes) is told when the disk is full.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    with explained(path, needed=needed):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(path.parent)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds all of it or what was there before."""
    with atomic_file(path, needed=len(data)) as temporary:
        write_new(temporary, data)


def write_new(path: Path, data: bytes) -> None:
    """Write and fsync a file that must not exist yet."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def sync(path: Path) -> None:
    """Ask the disk to keep a file, or the names in a directory, through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, document: JSON) -> None:
    """Write a JSON object for people to read (indented), in one step."""
    with _named(path, SavedFileError):
        text = _spell_json(document, indent=2)
    write_bytes_atomic(path, text.encode("ascii") + b"\n")


def write_json_lines(path: Path, rows: Iterable[JSON]) -> None:
    """Write a table, a JSON object on each line in UTF-8, in one step."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_json(path: Path, error: type[SavedFileError] = SavedFileError) -> JSON:
    """Read a JSON object, with bounded size and depth and without NaN."""
    with _named(path, error), _open_regular(path, error) as file:
        return _parse_json(file.read(_MAX_HEADER + 1))


def digest(document: JSON) -> bytes:
    """SHA-256 of a JSON object; equal objects have equal ones, whatever the order of their keys."""
    return hashlib.sha256(_spell_json(document).encode("ascii")).digest()


def _spell_json(document: JSON, *, indent: int | None = None) -> str:
    """Write a JSON object as text in the one order that equal objects share."""
    _check_json(document, "document", 0)
    return json.dumps(
        document, sort_keys=True, allow_nan=False, indent=indent, separators=(",", ": " if indent else ":")
    )


def _parse_json(text: bytes) -> JSON:
    """Parse a JSON object that anyone may have written."""
    if len(text) > _MAX_HEADER:
        raise _Refused(f"more than {_MAX_HEADER} bytes of JSON, expected less: get the file again")
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise _Refused(f"damaged JSON ({problem}): get the file again") from problem
    if not isinstance(document, dict):
        raise _Refused(f"JSON {type(document).__name__} found, expected an object: get the file again")
    _check_json(document, "document", 0)
    return document


def _check_json(value: Any, place: str, depth: int) -> None:
    """Refuse what JSON cannot hold exactly, and what a reader should not have to bear."""
    if depth > _MAX_DEPTH:
        raise _Refused(f"JSON is nested deeper than {_MAX_DEPTH} levels: make it flatter")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _Refused(f"{place} has the key {key!r}, expected text: use str({key!r})")
            _check_json(item, f"{place}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{place}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _Refused(f"{place} is {value}, expected a finite number: use null or text")
    elif isinstance(value, int) and abs(value) >= _MAX_INTEGER:
        raise _Refused(f"{place} is an integer of more than 100 digits: use text")
    elif not isinstance(value, str | int | float | None):
        kind = type(value).__name__
        raise _Refused(f"{place} is a {kind}, expected text, number, true, false, null, list or object")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], document: JSON) -> None:
    """Write tensors and a JSON object as one file (see the top of this module).

    Equal content gives equal bytes. Tensors that share memory are written one by one, each in full.
    """
    with _named(path, SavedFileError):
        data = _encode(tensors, document)
    write_bytes_atomic(path, data)


def read_tensors(path: Path, error: type[SavedFileError] = ArtefactError) -> tuple[dict[str, Tensor], JSON]:
    """Read what `write_tensors` wrote: tensors on the CPU in memory of their own, and the document.

    Nothing in the file is executed. Anything else than an unchanged file of a known version raises `error`.
    """
    with _named(path, error), _open_regular(path, error) as file:
        return _decode(file, os.fstat(file.fileno()).st_size)


def _encode(tensors: Mapping[str, Tensor], document: JSON) -> bytes:
    text = _spell_json(document)
    try:
        plain = safetensors.torch.save({name: _plain(name, value) for name, value in tensors.items()})
    except (SafetensorError, KeyError, ValueError) as problem:
        raise _Refused(f"safetensors cannot hold these tensors ({problem})") from problem
    start = 8 + int.from_bytes(plain[:8], "little")
    # Spelled anew: safetensors itself writes the metadata in an order that differs from run to run.
    header, body = json.loads(plain[8:start]), memoryview(plain)[start:]
    header["__metadata__"] = {"format": "seqloom", "version": str(VERSION), "document": text, "sha256": ""}
    header["__metadata__"]["sha256"] = _checksum(header, body)
    spelled = _spell_header(header)
    if len(spelled) > _MAX_HEADER:
        raise _Refused(f"header of {len(spelled)} bytes, expected at most {_MAX_HEADER}: shrink the document")
    return b"".join((len(spelled).to_bytes(8, "little"), spelled, body))


def _plain(name: str, tensor: Tensor) -> Tensor:
    """A dense copy on the CPU that shares memory with nothing."""
    if name == "__metadata__" or not name.isprintable():
        raise _Refused(f"tensor name {name!r}, expected printable text other than '__metadata__': rename it")
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        kind = f"{tensor.layout} on {tensor.device}"
        raise _Refused(f"tensor {name!r} is {kind}, expected dense values: call to_dense() or dequantize()")
    return tensor.detach().cpu().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


def _decode(file: BinaryIO, size: int) -> tuple[dict[str, Tensor], JSON]:
    """Check the parts in the order in which each makes the next one safe to look at."""
    start = file.read(9)
    length = _header_length(start, size)
    spelled = start[8:] + file.read(length - 1)
    header = _parse_json(spelled)
    metadata = _check_metadata(header)
    if _spell_header(header) != spelled:
        raise _Refused("the header is not as seqloom spells it, so it was changed: get the file again")
    _check_size(header, size - 8 - length)
    body = file.read()
    if _checksum(header, body) != metadata["sha256"]:
        raise _Refused("its SHA-256 checksum does not match, so the content was changed: get the file again")
    try:
        tensors = safetensors.torch.load(start[:8] + spelled + body)
    except (SafetensorError, KeyError, AssertionError) as problem:
        raise _Refused(f"not valid safetensors ({problem}): get the file again") from problem
    # Torch's own memory is aligned for vector instructions; what safetensors hands over need not be.
    aligned = {name: tensors[name].clone() for name in sorted(tensors)}
    return aligned, _parse_json(metadata["document"].encode())


def _header_length(start: bytes, size: int) -> int:
    """The number that the file starts with, if what follows can be a safetensors header."""
    length = int.from_bytes(start[:8], "little")
    if size == 0:
        raise _Refused("the file is empty, expected a seqloom file: get the file again")
    if start[8:] == b"{" and length > _MAX_HEADER:
        raise _Refused(f"header of {length} bytes, expected at most {_MAX_HEADER}: get the file again")
    if start[8:] == b"{" and 8 + length <= size:
        return length
    for magic, what in _FOREIGN.items():
        if start.startswith(magic) and start[8:] != b"{":
            raise _Refused(f"this is {what}; expected a file that seqloom saved: save the model with seqloom")
    if len(start) < 9 or start[8:] == b"{":
        raise _Refused(f"truncated: {size} bytes found, expected at least {8 + length}: get the file again")
    raise _Refused("not a safetensors file; expected a file that seqloom saved: check the path")


def _check_metadata(header: JSON) -> dict[str, str]:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != "seqloom":
        raise _Refused("a safetensors file that seqloom did not write: save the model with seqloom")
    version = metadata.get("version")
    number = int(version) if isinstance(version, str) and re.fullmatch("[0-9]{1,9}", version) else 0
    if number > VERSION:
        raise _Refused(f"written by a newer seqloom, format {number}; this one reads up to {VERSION}: upgrade seqloom")
    texts = all(isinstance(value, str) for value in metadata.values())
    if number < 1 or not texts or metadata.keys() != {"format", "version", "document", "sha256"}:
        raise _Refused("the metadata is not as seqloom writes it, so it was changed: get the file again")
    return metadata


def _check_size(header: JSON, received: int) -> None:
    """Before the body is read: a cut file is named as such, and a bloated one costs no memory."""
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        expected = max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (TypeError, KeyError, IndexError, ValueError) as problem:
        raise _Refused("the header does not say where its tensors lie: get the file again") from problem
    if received != expected:
        state = "truncated" if received < expected else "too long"
        raise _Refused(f"{state}: {received} bytes of tensors found, expected {expected}: get the file again")


def _spell_header(header: JSON) -> bytes:
    text = json.dumps(header, sort_keys=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    return text + b" " * (-len(text) % 8)  # safetensors wants the tensors aligned to 8 bytes


def _checksum(header: JSON, body: bytes | memoryview) -> str:
    blank = header | {"__metadata__": header["__metadata__"] | {"sha256": ""}}
    digest = hashlib.sha256(_spell_header(blank))
    digest.update(body)
    return digest.hexdigest()


@contextmanager
def _named(path: Path, error: type[SavedFileError]) -> Iterator[None]:
    try:
        yield
    except _Refused as problem:
        raise error(f"{path}: {problem}") from problem


@contextmanager
def _open_regular(path: Path, error: type[SavedFileError]) -> Iterator[BinaryIO]:
    """Open a file for reading; a pipe or device, on which reading might never end, is refused first."""
    with explained(path, error=error):
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise error(f"{path}: this is {what}, expected a file that seqloom saved: check the path")
        with path.open("rb") as file:
            yield file


def check_writable(directory: Path) -> None:
    """Fail now, not after hours of training, if `directory` cannot be written or made."""
    with explained(directory, error=RunDirectoryError):
        if directory.exists() and not directory.is_dir():
            raise RunDirectoryError(f"{directory}: this is a file, expected a directory: choose another path")
        place = directory if directory.exists() else directory.parent
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"seqloom")
            probe.flush()


def run_directory(path: Path, overwrite: bool = False) -> Path:
    """Make and mark a directory for one run, and return it.

    A new or empty `path` is used as it is. One with content is never touched: the run goes to `path-2`, then
    `path-3` and so on. With `overwrite` the content of an earlier run is removed; a directory that is not
    marked as a run is refused.
    """
    if path.name in ("", ".."):
        raise RunDirectoryError(f"{path}: expected a new name for the run: add one, such as {path / 'run'}")
    check_writable(path)
    with explained(path, error=RunDirectoryError):
        if overwrite and path.exists() and any(path.iterdir()):
            return _emptied(path)
        number = 1
        while not _claim(candidate := path if number == 1 else path.with_name(f"{path.name}-{number}")):
            number += 1
        return candidate


def _claim(directory: Path) -> bool:
    """Mark a new or empty directory; of two processes that try, one gets it."""
    try:
        directory.mkdir(exist_ok=True)
        if any(directory.iterdir()):
            return False
        write_new(directory / RUN_MARKER, _marker())
    except FileExistsError:
        return False
    sync(directory)
    return True


def _marker() -> bytes:
    return _spell_json({"format": "seqloom-run", "version": VERSION}).encode("ascii")


def _emptied(directory: Path) -> Path:
    marker = directory / RUN_MARKER
    if not marker.is_file() or read_json(marker, SavedFileError).get("format") != "seqloom-run":
        raise RunDirectoryError(
            f"{directory}: not a seqloom run (no {RUN_MARKER}), so it is not overwritten: "
            "choose another path, or empty it yourself"
        )
    for item in directory.iterdir():
        if item == marker:  # stays to the end, so that an interrupted clean-up can be repeated
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
    return directory
