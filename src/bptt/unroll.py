"""The front door (thin path, to be replaced)."""
import torch
from torch.utils import _pytree as pytree
from bptt.methods import Full

def unroll(cell, inputs, state=None, *, lengths=None, reset=None, reset_state=None, reverse=False, method=Full(), backend="auto"):
    leaves, spec = pytree.tree_flatten(inputs)
    T, B = leaves[0].shape[:2]
    def fresh():
        if hasattr(cell, "initial_state"):
            return cell.initial_state(B)
        p = next(cell.parameters())
        z = torch.zeros(B, cell.hidden_size, dtype=p.dtype, device=p.device)
        return (z, z) if isinstance(cell, torch.nn.LSTMCell) else z
    if state is None:
        state = fresh()
    if reset is not None and reset_state is None:
        reset_state = fresh()
    struct = pytree.tree_structure(state)
    ys = [None] * T
    def pick(mask, a, b):
        return pytree.tree_map(lambda p, q: torch.where(mask.reshape(-1, *[1] * (p.dim() - 1)), p, q), a, b)
    assert not (reverse and lengths is not None), "thin path"
    for t in (range(T - 1, -1, -1) if reverse else range(T)):
        if reset is not None:
            state = pick(reset[t], pytree.tree_map(lambda r, s: r.expand_as(s), reset_state, state), state)
        r = cell(pytree.tree_unflatten([x[t] for x in leaves], spec), state)
        if pytree.tree_structure(r) == struct:
            y, new = pytree.tree_leaves(r)[0], r
        else:
            y, new = r
        if lengths is not None:
            live = t < lengths
            y = pick(live, y, pytree.tree_map(torch.zeros_like, y))
            new = pick(live, new, state)
        state = new
        ys[t] = y
    return pytree.tree_map(lambda *v: torch.stack(v), *ys), state
