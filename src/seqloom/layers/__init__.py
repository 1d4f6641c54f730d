"""Layers: stacks of cells over `Sequences`, pooling, and torch's own layers with lengths."""

from seqloom.layers.torch_like import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]
