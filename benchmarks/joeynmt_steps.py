"""JoeyNMT 2.3 takes training steps, one for each line that it is sent. `translation.py` starts this script.

    PYTHON benchmarks/joeynmt_steps.py BATCHES.npz SIZE WORDS THREADS

PYTHON is the interpreter of an environment that has JoeyNMT (see `translation.py`) and need not have seqloom. Model,
loss, clipping, optimiser and the step are JoeyNMT's own, made from a configuration as its users write them: a
bidirectional GRU, a GRU decoder with additive attention and input feeding, each of SIZE features, one matrix for the
embeddings and the scores of WORDS target words, float32.

BATCHES.npz holds `source-N` and `target-N`, (B, T) int64 with marks and padding as in `Mark`. The first line written
is a JSON object of versions and sizes. Then each line read is a number of a batch, and its answer is a JSON object with
the seconds of the step, the target tokens in it and the loss for each of them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from enum import IntEnum
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Mark(IntEnum):
    """JoeyNMT's codes of what is no word; those of words follow."""

    UNKNOWN = 0
    PADDING = 1
    BEGIN = 2
    END = 3


def configuration(size: int) -> dict[str, Any]:
    """What a user of JoeyNMT would write."""
    layer = {"type": "recurrent", "rnn_type": "gru", "hidden_size": size, "embeddings": {"embedding_dim": size}}
    decoder = {"attention": "bahdanau", "input_feeding": True, "init_hidden": "bridge"}
    return {
        "model": {"encoder": {**layer, "bidirectional": True}, "decoder": {**layer, **decoder}, "tied_softmax": True},
        "training": {
            "batch_size": 128,
            "optimizer": "adamw",
            "clip_grad_norm": 1.0,
            "learning_rate": 0.001,
            "scheduling": "exponential",  # once an epoch; its "plateau" asks torch for an option that is gone
        },
    }


def trainer(source_words: int, target_words: int, size: int, folder: Path) -> Any:
    """JoeyNMT's manager of a training, with a model for so many words on both sides, marks and padding included."""
    import torch
    from joeynmt.config import parse_test_args, parse_train_args
    from joeynmt.model import build_model
    from joeynmt.training import TrainManager
    from joeynmt.vocabulary import Vocabulary

    marks = {"unk": Mark.UNKNOWN, "pad": Mark.PADDING, "bos": Mark.BEGIN, "eos": Mark.END}
    ids = {f"{name}_id": int(mark) for name, mark in marks.items()}
    named = SimpleNamespace(**ids, **{f"{name}_token": f"<{name}>" for name in marks}, sep_token=None, lang_tags=[])
    source, target = (
        Vocabulary([f"w{k}" for k in range(words - len(Mark))], named) for words in (source_words, target_words)
    )
    settings = configuration(size)
    arguments = parse_train_args(settings["training"])
    model = build_model(settings["model"], source, target)
    model.loss_function = (arguments.loss, arguments.label_smoothing)
    return TrainManager(
        rank=0,
        model=model,
        model_dir=folder,
        device=torch.device("cpu"),
        autocast={"device_type": "cpu", "enabled": False},
        train_args=arguments,
        dev_args=parse_test_args({}),
    )


def batch_of(source: np.ndarray, target: np.ndarray) -> Any:
    """JoeyNMT's batch of (B, S) and (B, U) codes."""
    import torch
    from joeynmt.batch import Batch

    return Batch(
        src=torch.from_numpy(source),
        src_length=torch.from_numpy((source != Mark.PADDING).sum(axis=1)),
        src_prompt_mask=None,
        trg=torch.from_numpy(target),
        trg_prompt_mask=None,
        indices=torch.arange(len(source)),
        device=torch.device("cpu"),
        pad_index=int(Mark.PADDING),
        eos_index=int(Mark.END),
    )


def step(manager: Any, batch: Any) -> float:
    """What the loop over batches in JoeyNMT's training does with one of them; the loss for each pair."""
    loss, _ = manager._train_step(batch)
    manager.clip_grad_fun(parameters=manager.model.parameters())
    manager.optimizer.step()
    manager.model.zero_grad()
    return float(loss)


def main(path: str, size: str, words: str, threads: str) -> None:
    """Answer line by line."""
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    batches = np.load(path)
    source_words = 1 + max(int(batches[name].max()) for name in batches.files if name.startswith("source"))
    with tempfile.TemporaryDirectory() as folder:
        manager = trainer(source_words, int(words), int(size), Path(folder))
        weights = sum(weight.numel() for weight in manager.model.parameters())
        about = {"joeynmt": version("joeynmt"), "torch": torch.__version__, "weights": weights}
        print(json.dumps(about), flush=True)
        for line in sys.stdin:
            number = int(line)
            batch = batch_of(batches[f"source-{number}"], batches[f"target-{number}"])
            began = time.perf_counter()
            loss = step(manager, batch)
            seconds = time.perf_counter() - began
            found = {"seconds": seconds, "tokens": batch.ntokens, "loss": loss * batch.nseqs / batch.ntokens}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
