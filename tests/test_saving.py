import errno
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import random
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from seqloom import saving
from seqloom.errors import ArtefactError, CheckpointError, RunDirectoryError, SavedFileError
from seqloom.saving import (
    RUN_MARKER,
    atomic_file,
    check_writable,
    read_json,
    read_tensors,
    run_directory,
    write_bytes_atomic,
    write_json,
    write_json_lines,
    write_tensors,
)

TENSORS = {"weight": torch.linspace(-1, 1, 12).reshape(3, 4), "steps": torch.tensor([1, 2, 3])}
DOCUMENT = {"recipe": {"cell": "lstm", "lr": 0.1}, "words": ["é", "\n", '"', "\ud800"], "seed": 2**127}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.seqloom"
    write_tensors(path, TENSORS, DOCUMENT)
    return path


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory that everyone can enter, and a user who is not root: root may write anywhere."""
    was_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        if was_root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if was_root:
                os.seteuid(0)


def refusal(path: Path, read: Callable[[Path], Any] = read_tensors) -> str:
    with pytest.raises(SavedFileError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


# What a stranger may put into a file, with a right checksum: the rules of the module's docstring, by hand.


def spell(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def entry(dtype: str, shape: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def forge(path: Path, entries: dict[str, Any], body: bytes, document: str = "{}", version: str = "1") -> Path:
    metadata = {"format": "seqloom", "version": version, "document": document, "sha256": ""}
    header = {**entries, "__metadata__": metadata}
    metadata["sha256"] = hashlib.sha256(spell(header) + body).hexdigest()
    path.write_bytes(struct.pack("<Q", len(spell(header))) + spell(header) + body)
    return path


def test_everything_comes_back(model: Path) -> None:
    tensors, document = read_tensors(model)
    assert document == DOCUMENT
    assert list(tensors) == ["steps", "weight"]
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1.5, -0.0, math.nan, math.inf]).bfloat16(),
        torch.tensor([2**62, -1]),
        torch.tensor([True, False]),
        torch.zeros(0, 3, dtype=torch.float64),
        torch.tensor(3.0).half(),
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        torch.ones(1, 3).expand(4, 3),
        torch.arange(10, dtype=torch.uint8)[::3],
        torch.tensor([1 + 2j]).conj(),
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=["bf16", "int64", "bool", "empty", "scalar", "permuted", "expanded", "strided", "conj", "parameter"],
)
def test_kinds_of_tensor_round_trip(tmp_path: Path, tensor: Tensor) -> None:
    write_tensors(tmp_path / "x.seqloom", {"x": tensor}, {})
    back = read_tensors(tmp_path / "x.seqloom")[0]["x"]
    assert (back.dtype, back.shape, back.requires_grad) == (tensor.dtype, tensor.shape, False)
    assert torch.equal(torch.nan_to_num(back), torch.nan_to_num(tensor.detach()))


def test_tied_tensors_come_back_apart(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    write_tensors(tmp_path / "x.seqloom", {"a": shared, "b": shared, "part": shared[2:4]}, {})
    back, _ = read_tensors(tmp_path / "x.seqloom")
    back["a"].fill_(9)
    assert back["b"].tolist() == shared.tolist() == [0, 1, 2, 3, 4, 5]
    assert back["part"].tolist() == [2, 3]


def test_equal_content_gives_equal_bytes(tmp_path: Path, model: Path) -> None:
    again = tmp_path / "again.seqloom"
    write_tensors(again, dict(reversed(TENSORS.items())), dict(reversed(DOCUMENT.items())))
    assert again.read_bytes() == model.read_bytes()


def test_other_readers_of_safetensors_can_read_it(model: Path) -> None:
    assert torch.equal(safetensors.torch.load_file(model)["weight"], TENSORS["weight"])
    with safe_open(model, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "seqloom"
    assert json.loads(metadata["document"]) == DOCUMENT


def test_the_format_is_as_documented(tmp_path: Path) -> None:
    ours, forged = tmp_path / "ours.seqloom", tmp_path / "forged.seqloom"
    write_tensors(ours, {"x": torch.tensor([1, 2], dtype=torch.uint8)}, {"b": 1, "a": [None]})
    forge(forged, {"x": entry("U8", [2], 0, 2)}, b"\1\2", document='{"a":[null],"b":1}')
    assert ours.read_bytes() == forged.read_bytes()


def test_every_truncation_is_refused(tmp_path: Path, model: Path) -> None:
    data, cut = model.read_bytes(), tmp_path / "cut.seqloom"
    for part in range(64):
        cut.write_bytes(data[: len(data) * part // 64])
        assert ("truncated" if part else "the file is empty") in refusal(cut)
    cut.write_bytes(data[:-1])
    assert "truncated: 71 bytes of tensors found, expected 72: get the file again" in refusal(cut)
    cut.write_bytes(data + b"\0")
    assert "too long: 73 bytes of tensors found, expected 72" in refusal(cut)


def test_every_flipped_bit_is_refused(tmp_path: Path, model: Path) -> None:
    data, damaged = bytearray(model.read_bytes()), tmp_path / "damaged.seqloom"
    for place in random.Random(7).sample(range(8 * len(data)), 1000):
        data[place // 8] ^= 1 << place % 8
        damaged.write_bytes(data)
        with pytest.raises(SavedFileError):
            read_tensors(damaged)
        data[place // 8] ^= 1 << place % 8
    damaged.write_bytes(data)
    read_tensors(damaged)


def test_changed_tensor_fails_the_checksum(tmp_path: Path, model: Path) -> None:
    (tmp_path / "x.seqloom").write_bytes(model.read_bytes()[:-1] + b"\7")
    assert "SHA-256 checksum does not match, so the content was changed" in refusal(tmp_path / "x.seqloom")


def test_other_spellings_of_the_header_are_refused(tmp_path: Path, model: Path) -> None:
    data, path = model.read_bytes(), tmp_path / "x.seqloom"
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length].rstrip(), data[8 + length :]
    twice = header[:-1] + b',"weight":' + json.dumps(json.loads(header)["weight"]).encode() + b"}"
    for other in (header.replace(b":", b": ", 1), twice, header + b" " * 16):
        path.write_bytes(struct.pack("<Q", len(other)) + other + body)
        assert "the header is not as seqloom spells it" in refusal(path)


class Canary:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.pkl", data)
    return buffer.getvalue()


def numpy_file(item: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([item]), allow_pickle=True)
    return buffer.getvalue()


def strange_files(canary: Canary) -> dict[str, Callable[[Path], Any]]:
    return {
        "a Python pickle, which could run code": lambda path: path.write_bytes(pickle.dumps(canary)),
        "a zip archive (torch.save writes these)": lambda path: torch.save({"x": canary}, path),
        "a Python pickle, which": lambda path: torch.save({"x": canary}, path, _use_new_zipfile_serialization=False),
        "a zip archive": lambda path: path.write_bytes(zipped(pickle.dumps(canary))),
        "a NumPy array": lambda path: path.write_bytes(numpy_file(canary)),
        "not a safetensors file": lambda path: path.write_bytes(pickle.dumps(canary, protocol=0)),
    }


@pytest.mark.parametrize("kind", strange_files(Canary(Path())))
def test_pickles_are_named_and_never_run(tmp_path: Path, kind: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.seqloom"
    strange_files(Canary(canary))[kind](path)
    message = refusal(path)
    assert kind in message
    assert "expected a file that seqloom saved" in message
    assert not canary.exists()


def test_missing_file_and_directory_are_named(tmp_path: Path) -> None:
    assert "No such file or directory; expected an existing path" in refusal(tmp_path / "none.seqloom")
    assert "this is a directory, expected a file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "this is not a regular file" in refusal(tmp_path / "pipe")


def test_the_caller_names_the_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        read_tensors(tmp_path / "none")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "none", CheckpointError)
    (tmp_path / "empty").touch()
    with pytest.raises(CheckpointError, match="the file is empty"):
        read_tensors(tmp_path / "empty", CheckpointError)


def test_versions(tmp_path: Path) -> None:
    path = tmp_path / "x.seqloom"
    newer = "written by a newer seqloom, format 2; this one reads up to 1: upgrade seqloom"
    assert newer in refusal(forge(path, {}, b"", version="2"))
    for version in ("0", "-1", "one", "٣", "", "1" * 5000):
        assert "the metadata is not as seqloom writes it" in refusal(forge(path, {}, b"", version=version))
    safetensors.torch.save_file(TENSORS, path)
    assert "a safetensors file that seqloom did not write" in refusal(path)


FORGED: dict[str, tuple[dict[str, Any], bytes]] = {
    "overlap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123"),
    "hole": ({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123"),
    "outside": ({"a": entry("U8", [9], 0, 9)}, b"123"),
    "negative": ({"a": entry("U8", [-1], 0, -1)}, b""),
    "backwards": ({"a": entry("U8", [1], 1, 0), "b": entry("U8", [1], 0, 1)}, b"1"),
    "shape is wrong": ({"a": entry("F32", [2], 0, 4)}, b"1234"),
    "shape overflows": ({"a": entry("F32", [2**62, 4, 2**62], 0, 4)}, b"1234"),
    "shape is too large for a number": ({"a": entry("U8", [10**30], 0, 1)}, b"1"),
    "unknown type": ({"a": entry("F31", [1], 0, 4)}, b"1234"),
    "type torch lacks": ({"a": entry("F8_E8M0", [1], 0, 1)}, b"1"),
    "no offsets": ({"a": {"dtype": "U8", "shape": [1]}}, b"1"),
    "offsets are text": ({"a": entry("U8", [1], "0", "x")}, b"1"),
    "entry is a list": ({"a": [1]}, b"1"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_headers_are_refused(tmp_path: Path, name: str) -> None:
    message = refusal(forge(tmp_path / "x.seqloom", *FORGED[name]))
    expected = ("not valid safetensors", "bytes of tensors found", "does not say where its tensors lie")
    assert any(text in message for text in expected)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "damaged JSON"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested deeper than 64 levels"),
        ('{"a":NaN}', "document.a is nan, expected a finite number"),
        ('{"a":[1e999]}', r"document.a\[0\] is inf, expected a finite number"),
        ('{"a":' + "9" * 1_000_000 + "}", "damaged JSON"),
        ('{"a":' + "9" * 101 + "}", "an integer of more than 100 digits"),
        ("[1]", "JSON list found, expected an object"),
        ("{", "damaged JSON"),
    ],
    ids=["deep", "too deep", "nan", "infinite", "huge integer", "large integer", "list", "cut"],
)
def test_hostile_documents_are_refused(tmp_path: Path, document: str, message: str) -> None:
    started = time.monotonic()
    forge(tmp_path / "x.seqloom", {}, b"", document=document)
    with pytest.raises(ArtefactError, match=message):
        read_tensors(tmp_path / "x.seqloom")
    (tmp_path / "x.json").write_text(document)
    with pytest.raises(SavedFileError, match=message):
        read_json(tmp_path / "x.json")
    assert time.monotonic() - started < 1


def test_hostile_sizes_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    path, started = tmp_path / "x.seqloom", time.monotonic()
    for length in (200_000_000, 2**63):
        path.write_bytes(struct.pack("<Q", length) + b"{")
        os.truncate(path, 300_000_000)
        assert f"header of {length} bytes, expected at most 100000000" in refusal(path)
    forge(path, {"a": entry("U8", [1], 0, 1)}, b"1")
    os.truncate(path, 2**40)
    assert "too long: " in refusal(path)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"loss": [1.0, math.nan]}, r"document.loss\[1\] is nan, expected a finite number: use null or text"),
        ({"a": {3: 1}}, r"document.a has the key 3, expected text: use str\(3\)"),
        ({"a": torch.ones(1)}, "document.a is a Tensor, expected text, number, true, false, null"),
        ({"a": 10**100}, "document.a is an integer of more than 100 digits"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(SavedFileError, match=f"{tmp_path}/x: {message}"):
        write_tensors(tmp_path / "x", {}, document)
    with pytest.raises(SavedFileError, match=f"{tmp_path}/x: {message}"):
        write_json(tmp_path / "x", document)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("__metadata__", torch.ones(1), "tensor name '__metadata__', expected printable text other than"),
        ("\ud800", torch.ones(1), "expected printable text"),
        ("x", torch.ones(1, device="meta"), "tensor 'x' is torch.strided on meta, expected dense values"),
        ("x", torch.eye(2).to_sparse(), "tensor 'x' is torch.sparse_coo on cpu"),
        ("x", torch.ones(1, dtype=torch.complex128), "safetensors cannot hold these tensors"),
    ],
)
def test_tensors_that_cannot_be_saved(tmp_path: Path, name: str, tensor: Tensor, message: str) -> None:
    with pytest.raises(SavedFileError, match=message):
        write_tensors(tmp_path / "x", {name: tensor}, {})
    assert list(tmp_path.iterdir()) == []


def test_document_too_long_for_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_MAX_HEADER", 400)
    with pytest.raises(SavedFileError, match=r"header of \d{3} bytes, expected at most 400: shrink the"):
        write_tensors(tmp_path / "x", {}, {"text": "x" * 500})


def test_json_is_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 1, "a": [0.1, None]})
    assert (tmp_path / "x.json").read_text() == ('{\n  "a": [\n    0.1,\n    null\n  ],\n  "b": 1\n}\n')
    assert read_json(tmp_path / "x.json") == {"a": [0.1, None], "b": 1}


def test_atomic_file_keeps_the_old_one_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_file(path) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.startswith(f".table.csv.tmp-{os.getpid()}-")
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def failing_call(number: int, code: int) -> Iterator[None]:
    """Make the `number`-th of the system calls that saving uses raise an OSError."""
    count = itertools.count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def maybe_fail(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return maybe_fail

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "write", "fsync", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EIO, "Input/output error; expected a working disk"),
        (errno.ENOSPC, "No space left on device; 3 bytes are needed: free some space, or choose"),
        (errno.EDQUOT, "3 bytes are needed"),
        (errno.EROFS, "Read-only file system; expected a disk that can be written: choose another place"),
        (errno.EACCES, "Permission denied; expected permission to use it"),
    ],
)
def test_nth_system_call_fails(tmp_path: Path, code: int, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    found = []
    # Temporary file: open, write, fsync; open, fsync. Then replace. Directory: open, fsync.
    for number in range(1, 9):
        with pytest.raises(SavedFileError) as caught, failing_call(number, code):
            write_bytes_atomic(path, b"new")
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)
        assert os.listdir(tmp_path) == ["file"]
        found.append(path.read_bytes())
    assert found == [b"old"] * 6 + [b"new"] * 2
    with failing_call(9, code):
        write_bytes_atomic(path, b"newest")
    assert path.read_bytes() == b"newest"


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    write_bytes_atomic(tmp_path / "x", b"all of these bytes")
    assert (tmp_path / "x").read_bytes() == b"all of these bytes"


def test_saving_into_a_missing_directory_or_onto_one(tmp_path: Path) -> None:
    with pytest.raises(SavedFileError, match=r"none/x: No such file or directory; .* or create the directory"):
        write_bytes_atomic(tmp_path / "none" / "x", b"")
    with pytest.raises(SavedFileError, match="Is a directory; expected a file"):
        write_bytes_atomic(tmp_path, b"")
    assert list(tmp_path.iterdir()) == []


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunDirectoryError, match=r"a/b: No such file or directory; .* create the directory"):
        check_writable(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match="file: this is a file, expected a directory"):
        check_writable(tmp_path / "file")
    with pytest.raises(RunDirectoryError, match=r"file/run: .*expected a directory: choose another"):
        check_writable(tmp_path / "file" / "run")


def test_check_writable_without_permission(as_nobody: Path) -> None:
    for path in (as_nobody, as_nobody / "run"):
        with pytest.raises(RunDirectoryError, match=f"{path}: Permission denied; expected permission"):
            check_writable(path)


def test_run_directories_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert run_directory(path) == path
    assert run_directory(path) == tmp_path / "run-2"
    assert run_directory(path) == tmp_path / "run-3"
    (tmp_path / "run-4").touch()
    assert run_directory(path) == tmp_path / "run-5"
    assert read_json(path / RUN_MARKER) == {"format": "seqloom-run", "version": 1}


def test_empty_directory_becomes_the_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run_directory(tmp_path / "run") == tmp_path / "run"


def test_overwrite_empties_a_run_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    run = run_directory(tmp_path / "run", overwrite=True)
    (run / "log").touch()
    (run / "deep" / "er").mkdir(parents=True)
    (run / "link").symlink_to(outside)
    assert run_directory(run, overwrite=True) == run
    assert [item.name for item in run.iterdir()] == [RUN_MARKER]
    assert (outside / "kept").exists()
    with pytest.raises(RunDirectoryError, match=rf"outside: not a seqloom run \(no {RUN_MARKER}\)"):
        run_directory(outside, overwrite=True)
    (outside / RUN_MARKER).write_text('{"format": "other"}')
    with pytest.raises(RunDirectoryError, match="not a seqloom run"):
        run_directory(outside, overwrite=True)
    assert (outside / "kept").exists()


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_run_needs_a_name(path: str) -> None:
    with pytest.raises(RunDirectoryError, match="expected a new name for the run: add one"):
        run_directory(Path(path), overwrite=True)


def test_a_table_of_json_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [{"text": "straße\nzwei", "n": 1}, {"items": ["a"], "rate": 0.1}]
    write_json_lines(file, rows)
    assert file.read_bytes() == '{"text": "straße\\nzwei", "n": 1}\n{"items": ["a"], "rate": 0.1}\n'.encode()
    before = file.read_bytes()
    for bad in ({"rate": float("nan")}, {"odd": object()}):
        with pytest.raises((ValueError, TypeError)):
            write_json_lines(file, [*rows * 5000, bad])
        assert file.read_bytes() == before
        assert list(tmp_path.iterdir()) == [file]
