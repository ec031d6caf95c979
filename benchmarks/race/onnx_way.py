"""The way through ONNX Runtime: forward alone, for the cells that ONNX has."""

from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from race.jobs import Job
from race.ways import Runner


class Operator(NamedTuple):
    """ONNX's operator for a cell; its gates in ONNX's order, each as its place in ours."""

    name: str
    gates: list[int]
    attributes: dict[str, int]


OPERATORS = {
    "tanh RNN": Operator("RNN", [0], {}),
    "GRU": Operator("GRU", [1, 0, 2], {"linear_before_reset": 1}),
    "LSTM": Operator("LSTM", [0, 3, 1, 2], {}),
}


def onnx_runtime(job: Job) -> Runner | None:
    """ONNX Runtime on a model of one operator, T and B left open."""
    if job.name not in OPERATORS:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(_model(job), options, providers=["CPUExecutionProvider"])
    feeds = {"x": _numbers(job.inputs)}
    feeds |= {name: _numbers(leaf[None]) for name, leaf in zip("hc", job.state, strict=False)}
    return Runner(
        lambda: session.run(["y"], feeds), lambda result: torch.from_numpy(result[0][:, 0])
    )


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _model(job: Job) -> bytes:
    operator, hidden = OPERATORS[job.name], job.shape.H
    states = ["h", "c"][: len(job.state)]
    inputs = ["x", "W", "R", "biases", "", *states]
    node = helper.make_node(operator.name, inputs, ["y"], hidden_size=hidden, **operator.attributes)
    sizes = {"x": ["T", "B", job.shape.I]} | {name: [1, "B", hidden] for name in states}
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, "B", hidden])
    graph = helper.make_graph([node], job.name, given, [result], _weights(job, operator.gates))
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString()


def _weights(job: Job, gates: list[int]) -> list[TensorProto]:
    """The cell's weights as ONNX lays them out: (1, gates * H, ...), the biases side by side."""
    ours = dict(job.module.named_parameters())

    def rows(weight: Tensor) -> np.ndarray:
        blocks = weight.t().reshape(len(gates), job.shape.H, *weight.shape[:-1])
        return _numbers(blocks[gates].flatten(0, 1)[None])

    bx = ours["bx"] if "bx" in ours else ours["b"]
    bs = ours["bs"] if "bs" in ours else torch.zeros_like(bx)
    biases = np.concatenate([rows(bx), rows(bs)], axis=1)
    arrays = {"W": rows(ours["Wx"]), "R": rows(ours["Ws"]), "biases": biases}
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]
