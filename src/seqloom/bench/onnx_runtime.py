"""ONNX Runtime as a rival: torch's layer as a graph of one node. Optional, with the extra `bench`.

Operators LSTM and GRU of https://onnx.ai/onnx/operators/ in version 14: gates i, o, f, c and z, r, h, time first.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

Array = npt.NDArray[np.float32]
_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # our gates i, f, g, o and r, z, n in the operator's order
_STATES = {"LSTM": ("h", "c"), "GRU": ("h",)}
_OPSET, _IR_VERSION = 14, 8


def why_not() -> str | None:
    """The reason why it cannot run here, or None."""
    absent = [name for name in ("onnxruntime", "onnx") if find_spec(name) is None]
    return f"{' and '.join(absent)} not installed; pip install 'seqloom[bench]'" if absent else None


class OnnxLayer:
    """A layer of torch in ONNX Runtime, with its state.

    Args:
        layer: one layer, one direction.
        threads: that the session may use.
    """

    def __init__(self, layer: nn.RNNBase, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Between calls its threads would go on spinning, on the cores of whoever is next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(graph(layer), options, providers=["CPUExecutionProvider"])
        self._states = [f"initial_{part}" for part in _STATES[layer.mode]]
        self._hidden = layer.hidden_size

    def initial(self, rows: int) -> list[Array]:
        """The state of so many rows before the first step."""
        return [np.zeros((1, rows, self._hidden), np.float32) for _ in self._states]

    def __call__(self, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
        """Inputs (T, B, I) to outputs (T, 1, B, H), and the state."""
        output, *after = self._session.run(None, {"x": x, **dict(zip(self._states, state, strict=True))})
        return output, after


def graph(layer: nn.RNNBase) -> bytes:
    """The model file."""
    from onnx import TensorProto, helper, numpy_helper

    states = _STATES[layer.mode]
    initial, final = [f"initial_{part}" for part in states], [f"final_{part}" for part in states]
    weights = {
        "W": _gates(layer, "weight_ih_l0")[None],
        "R": _gates(layer, "weight_hh_l0")[None],
        "B": np.concatenate([_gates(layer, "bias_ih_l0"), _gates(layer, "bias_hh_l0")])[None],
    }
    more: dict[str, Any] = {"linear_before_reset": 1} if layer.mode == "GRU" else {}
    node = helper.make_node(
        layer.mode, ["x", *weights, "", *initial], ["y", *final], hidden_size=layer.hidden_size, **more
    )

    def value(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    H = layer.hidden_size
    made = helper.make_graph(
        [node],
        "layer",
        [value("x", "T", "B", layer.input_size), *(value(name, 1, "B", H) for name in initial)],
        [value("y", "T", 1, "B", H), *(value(name, 1, "B", H) for name in final)],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def _gates(layer: nn.RNNBase, name: str) -> Array:
    """Weights with the gates in the operator's order."""
    parts = np.split(layer.get_parameter(name).detach().numpy(), len(_ORDER[layer.mode]))
    return np.concatenate([parts[k] for k in _ORDER[layer.mode]])
