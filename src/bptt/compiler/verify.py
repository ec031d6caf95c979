"""Checks of the compiler on itself: each pass leaves a graph that means what the step did.

A kernel that is wrong is worse than none. So the structure is checked between passes, and the
lowered graph is computed once on the very numbers of the trace and compared with what torch gave.
"""

import torch
from torch import Tensor

from bptt.compiler.graph import LEAVES, SUMS, Graph
from bptt.compiler.lower import Step
from bptt.compiler.once import Once
from bptt.compiler.parallel import parallel
from bptt.compiler.record import Ref
from bptt.compiler.split import Columns
from bptt.compiler.trace import Trace, Untraceable

# Largest |found - expected| / (largest |expected| + 1): the order of a few sums differs.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_LEAF_NAMES = {"input": "x", "state": "s", "draw": "r", "d_output": "dy", "d_state": "ds"}


def check_graph(graph: Graph) -> None:
    """Operands come first, and no sum over rows leads back to a row."""
    for number, node in enumerate(graph.nodes):
        assert all(operand < number for operand in node.operands), (number, node)
        summed = [graph[o].op in SUMS for o in node.operands]
        assert node.op == "linear" or not any(summed), (number, node)
        assert node.operands or node.op in (*LEAVES, "number"), (number, node)


def check_columns(columns: Columns) -> None:
    """The loop is closed: what it takes was given, is computed before it, or came before in it."""
    graph, ready = columns.graph, {*columns.given, *columns.before}
    ready |= {n for n, node in enumerate(graph.nodes) if node.op == "d_state"}
    for number in columns.loop:
        for operand in graph[number].operands:
            outside = graph[operand].op in ("number", "fixed", "sequence")
            assert outside or operand in ready, (number, graph[number], operand)
        assert graph[number].op not in SUMS, graph[number]
        ready.add(number)
    assert all(n in columns.loop or graph[n].op == "d_state" for n in columns.kept)
    carried = {n for n in columns.carried if n is not None}
    assert all(
        n in ready or graph[n].op in ("number", "fixed", "sequence", "expand") for n in carried
    )


def check_numbers(step: Step, trace: Trace, dtype: torch.dtype) -> None:
    """The graph computes what the step did, on the numbers of the trace.

    Raises:
        Untraceable: it does not, which is an error of bptt's.
    """
    graph = step.graph
    given = [n for n, node in enumerate(graph.nodes) if node.op in _LEAF_NAMES]
    pairs = [
        *zip(step.outputs, trace.outputs, strict=True),
        *zip(step.state, trace.state, strict=True),
        *zip(step.d_inputs, trace.d_inputs, strict=True),
        *zip(step.d_before, trace.d_before, strict=True),
        *zip(step.d_fixed, trace.d_fixed, strict=True),
    ]
    roots = [(node, trace.tensors[name]) for node, name in pairs if node is not None and name]
    refs = [node.attributes[0] for node in graph.nodes if node.op in ("fixed", "sequence")]
    with torch.no_grad():
        count = sum(name.startswith("w") for name in trace.tensors)
        fixed = [trace.tensors[Ref(f"w{i}")].detach() for i in range(count)]
        values = Once(step.once, refs, frozenset(), {}, step.constants).run(fixed)
        run = parallel(graph, given, [node for node, _ in roots], dtype)
        leaves = [_of_trace(graph, number, trace, dtype) for number in run.given]
        found = run.run(leaves, values, 1, len(next(iter(_rows(trace)))))
        for result, (_, expected) in zip(found, roots, strict=True):
            _check_close(result, expected.detach(), dtype)


def _rows(trace: Trace) -> list[Tensor]:
    return [tensor for name, tensor in trace.tensors.items() if name.startswith("s")]


def _of_trace(graph: Graph, number: int, trace: Trace, dtype: torch.dtype) -> Tensor:
    node = graph[number]
    return trace.tensors[Ref(f"{_LEAF_NAMES[node.op]}{node.attributes[0]}")].detach().to(dtype)


def _check_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    found, expected = found.to(dtype).reshape(expected.shape), expected.to(dtype)
    same = (found == expected) | (found.isnan() & expected.isnan())
    scale = expected.nan_to_num(0, 0, 0).abs().max() + 1 if expected.numel() else 1
    close = ((found - expected).abs() / scale) < TOLERANCE[dtype]
    if not bool((same | close).all()):
        raise Untraceable(
            f"bptt's own translation of this step gives other numbers than torch (shape "
            f"{tuple(expected.shape)}). This is an error of bptt's: please report the cell"
        )
