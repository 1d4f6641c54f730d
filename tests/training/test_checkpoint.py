import errno
import fcntl
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqloom.errors import CheckpointError, UsageError
from seqloom.training import checkpoint
from seqloom.training.checkpoint import load_checkpoint, save_checkpoint

# A fork of a process that has imported torch once: twenty processes in seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "seqloom.training.checkpoint"])


def content(step: int, size: int = 100) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return {"weight": torch.full((size,), float(step)), "step": torch.tensor(step)}, {"loss": step / 7}


def save(directory: Path, step: int, size: int = 100, keep: int = 2) -> Path:
    return save_checkpoint(directory, step, *content(step, size), keep=keep)


def check_newest(directory: Path, step: int) -> checkpoint.Checkpoint:
    """The newest step is `step`, and its content is what was saved for it."""
    loaded = load_checkpoint(directory)
    tensors, document = content(step, len(loaded.tensors["weight"]))
    assert loaded.step == step
    assert loaded.document == document
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)
    return loaded


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")


def newest(directory: Path) -> int:
    return max(int(name.removeprefix("step-")) for name in names(directory) if "." not in name)


def test_a_step_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 100)
    assert path == tmp_path / "checkpoints" / "step-00000100"
    assert names(path) == ["manifest.json", "state.json", "tensors.safetensors"]
    loaded = check_newest(tmp_path / "checkpoints", 100)
    assert loaded.path == path
    assert loaded.skipped == []


def test_newest_is_by_number_not_by_time(tmp_path: Path) -> None:
    for step in (3, 99_999_999, 100_000_000, 20):
        save(tmp_path, step, keep=9)
    os.utime(tmp_path / "step-00000003")
    check_newest(tmp_path, 100_000_000)


def test_older_steps_are_removed(tmp_path: Path) -> None:
    for step in range(5):
        save(tmp_path, step)
        assert names(tmp_path) == [f"step-{kept:08d}" for kept in range(max(0, step - 1), step + 1)]
    for step in range(5, 9):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["step-00000006", "step-00000007", "step-00000008"]


def test_a_damaged_step_does_not_count_as_kept(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.json").unlink()
    save(tmp_path, 3)
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_higher_steps_are_left_alone(tmp_path: Path) -> None:
    for step in (8, 9, 5, 6, 7):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000006", "step-00000007", "step-00000008", "step-00000009"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save_checkpoint(tmp_path, 1, {"x": torch.ones(1)}, {"done": True})
    assert load_checkpoint(tmp_path).document == {"done": True}
    assert names(tmp_path) == ["step-00000001"]


def test_a_step_is_found_while_it_is_replaced(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    path.rename(tmp_path / "step-00000001.old-1-abc")  # killed between the two renames
    check_newest(tmp_path, 1)
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-00000001"]


def test_misuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="step 1 and keep 1 received, expected step >= 0 and keep >= 2"):
        save(tmp_path, 1, keep=1)
    with pytest.raises(UsageError, match="step -1 and keep 2 received"):
        save(tmp_path, -1)
    with pytest.raises(CheckpointError, match="no directory called step-N: train from the start"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"none: No such file or directory"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"create the directory first"):
        save(tmp_path / "none" / "checkpoints", 1)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file: File exists; something else has this name"):
        save(tmp_path / "file", 1)
    with pytest.raises(CheckpointError, match=r"step-00000001: not saved.*document.loss is nan"):
        save_checkpoint(tmp_path, 1, {}, {"loss": float("nan")})
    assert names(tmp_path) == ["file"]


FILES = ("tensors.safetensors", "state.json", "manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_skipped(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    data = file.read_bytes()
    for length in sorted({len(data) * part // 64 for part in range(64)}):
        file.write_bytes(data[:length])
        loaded = check_newest(tmp_path, 1)
        assert len(loaded.skipped) == 1
        assert loaded.skipped[0].startswith(str(tmp_path / "step-00000002"))
    file.unlink()
    assert f"{name}: No such file or directory" in check_newest(tmp_path, 1).skipped[0]
    file.write_bytes(data)
    assert check_newest(tmp_path, 2).skipped == []


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_skipped(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    data = bytearray(file.read_bytes())
    for place in random.Random(3).sample(range(8 * len(data)), min(350, 8 * len(data))):
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        check_newest(tmp_path, 1)
        data[place // 8] ^= 1 << place % 8


def test_another_step_under_this_name_is_skipped(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    shutil.copytree(path, tmp_path / "step-00000002")
    assert "step-00000002: its files do not match its manifest" in check_newest(tmp_path, 1).skipped[0]


def test_reasons_are_told_when_nothing_is_left(tmp_path: Path) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2)
    (first / "state.json").write_text("{}")
    manifest = json.loads((second / "manifest.json").read_text())
    (second / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert f"{second}: written by a newer seqloom, format 2; this one reads up to 1" in str(caught.value)
    assert f"{first}: its files do not match its manifest" in str(caught.value)
    assert str(caught.value).endswith("train from the start")


@contextmanager
def failing_call(number: int, code: int) -> Iterator[Callable[[], int]]:
    """Make the `number`-th of the system calls that saving uses raise an OSError; gives the count so far."""
    counter, last = itertools.count(1), [0]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def maybe_fail(*args: Any, **kwargs: Any) -> Any:
            last[0] = next(counter)
            if last[0] == number:
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return maybe_fail

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "write", "fsync", "replace", "mkdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield lambda: last[0]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_nth_system_call_fails(tmp_path: Path, code: int) -> None:
    save(tmp_path, 1)
    messages = []
    for number in range(1, 200):
        with failing_call(number, code) as count:
            try:
                save(tmp_path, 2)
            except CheckpointError as problem:
                messages.append(str(problem))
                assert not any(".tmp-" in name for name in names(tmp_path))
                assert load_checkpoint(tmp_path).step in (1, 2)
        check_newest(tmp_path, load_checkpoint(tmp_path).step)
        assert "step-00000001" in names(tmp_path)
        shutil.rmtree(tmp_path / "step-00000002", ignore_errors=True)
        if count() < number:
            break
    assert all(f"{os.strerror(code)}; " in message for message in messages)
    # All but the first (making a directory that exists may fail) and the last (nothing failed).
    assert 25 < len(messages) == number - 2
    check_newest(tmp_path, 1)


def test_nth_system_call_fails_while_replacing_and_pruning(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path / "before", step, keep=9)
    for number in range(1, 200):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "before", tmp_path / "run")
        with failing_call(number, errno.EIO) as count:
            try:
                save(tmp_path / "run", 4)
            except CheckpointError:
                assert not any(".tmp-" in name for name in names(tmp_path / "run"))
        check_newest(tmp_path / "run", 4)
        save(tmp_path / "run", 5)
        assert names(tmp_path / "run") == ["step-00000004", "step-00000005"]
        if count() < number:
            break
    assert number < 150


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def log_fsync(handle: int) -> None:
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name.split('.tmp')[0]}")
        fsync(handle)

    def log_replace(source: Path, target: Path) -> None:
        events.append(f"rename {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    save(tmp_path, 1)
    last = events.index("rename step-00000001")
    for name in FILES:
        assert events.index(f"fsync .{name}") < events.index(f"rename {name}") < last
    assert events[last - 1 :] == ["fsync step-00000001", "rename step-00000001", f"fsync {tmp_path.name}"]


def save_forever(directory: Path, first: int) -> None:
    for step in itertools.count(first):
        save(directory, step, size=30_000)


def started(target: Callable[..., None], *args: Any) -> BaseProcess:
    process = PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def wait_for(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.is_alive(), f"the process ended by itself with exit code {process.exitcode}"
        assert time.monotonic() < deadline, "the process does not get on"
        time.sleep(0.001)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Whatever a killed process was doing, the last finished step is there with its own content."""
    save(tmp_path, 0)
    pause, interrupted, last = random.Random(11), 0, 0
    for _ in range(20):
        process = started(save_forever, tmp_path, last + 1)
        # The first step of its own may be gone again before it is seen: any newer one will do.
        wait_for(lambda: newest(tmp_path) > last, process)  # noqa: B023
        time.sleep(pause.uniform(0, 0.03))
        process.kill()
        process.join()
        interrupted += any(".tmp-" in name for name in names(tmp_path))
        found = load_checkpoint(tmp_path)
        assert found.skipped == []
        assert found.step > last
        last = found.step
        check_newest(tmp_path, last)
    assert interrupted > 0  # else the kills came between saves and the test shows nothing
    save(tmp_path, last + 1)
    assert names(tmp_path) == [f"step-{last:08d}", f"step-{last + 1:08d}"]


def test_temporary_directories_of_living_processes_stay(tmp_path: Path) -> None:
    process = started(time.sleep, 60)
    (tmp_path / f"step-00000001.tmp-{process.pid}-abc").mkdir()
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-00000001", f"step-00000001.tmp-{process.pid}-abc"]
    process.kill()
    process.join()
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def save_range(directory: Path, first: int, last: int) -> None:
    for step in range(first, last):
        save(directory, step, size=2000)


@pytest.mark.parametrize("offset", [0, 1000], ids=["same steps", "other steps"])
def test_two_processes_in_one_directory_take_turns(tmp_path: Path, offset: int) -> None:
    both = [started(save_range, tmp_path, 0, 15), started(save_range, tmp_path, offset, offset + 15)]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert check_newest(tmp_path, offset + 14).skipped == []
    assert not any("." in name for name in names(tmp_path))


def test_a_lock_that_stays_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_LOCK_SECONDS", 0.1)
    save(tmp_path, 1)
    with (tmp_path / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match=r"another process has been saving here for 0\.1 s, expected one"):
            save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
    save(tmp_path, 2)


def save_beyond_the_limit(directory: Path) -> None:
    save(directory, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        save(directory, 2, size=10_000)
    except CheckpointError as problem:
        (directory / "message").write_text(str(problem))
    save(directory, 3)  # the next good request succeeds


def test_full_disk(tmp_path: Path) -> None:
    process = started(save_beyond_the_limit, tmp_path)
    process.join(60)
    assert process.exitcode == 0
    message = (tmp_path / "message").read_text()
    assert message.startswith(f"{tmp_path / 'step-00000002'}: not saved, earlier checkpoints are as they were: ")
    assert "File too large; 40" in message  # 10 000 numbers of 4 bytes and a header
    assert "bytes are needed: free some space, or choose another disk" in message
    check_newest(tmp_path, 3)
    assert names(tmp_path) == ["message", "step-00000001", "step-00000003"]
