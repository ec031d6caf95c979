"""`detect_nonfinite`: NaN and infinity are found at their step, sequence and unit."""

import pytest
import torch

import bptt
from bptt.errors import NonFiniteError

METHODS = [bptt.Full(), bptt.Truncated(3, 7), bptt.Checkpointed(segments=2)]
T, B, H = 70, 3, 4


def found(work):
    with pytest.raises(NonFiniteError) as error:
        work()
    return error.value.step, error.value.sequence, error.value.unit, str(error.value)


def growing(factor, dtype=torch.float32):
    """A linear cell, each unit by itself."""
    cell = bptt.cells.Elman(H, H, activation=lambda a: a, bias=False)
    with torch.no_grad():
        cell.Wx.copy_(torch.eye(H))
        cell.Ws.copy_(torch.eye(H) * factor)
    return cell.to(dtype)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [70, 66, 9]])
def test_a_state_that_overflows_is_found(backend, method, reverse, lengths):
    x, last = torch.zeros(T, B, H), 69 if lengths is None else 65
    begin = last - 5 if reverse else 5
    x[begin, 1, 2] = 1.0  # 10^38 is the last power of ten that float32 has

    def work():
        with bptt.detect_nonfinite():
            given = {"lengths": lengths, "reverse": reverse, "method": method}
            bptt.unroll(growing(10.0), x, backend=backend, **given)

    *place, said = found(work)
    assert place == [begin - 39 if reverse else begin + 39, 1, (2,)]
    where = f"at step {place[0]} of sequence 1, in unit 2, all counted from 0"
    assert said.startswith(f"the state is infinite {where}. ")
    assert "A step before it is up to 1e+38, so it grows" in said


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_an_adjoint_that_overflows_is_found(backend, method):
    """From the loss at step 60 alone, it overflows where its method lets it come so far."""
    cell, x = growing(1e12), torch.zeros(T, B, H)
    weights = torch.zeros(T, B, H)
    weights[60, 2, 1] = 1.0
    with bptt.detect_nonfinite():
        outputs, _ = bptt.unroll(cell, x, method=method, backend=backend)
    step, sequence, unit, said = found((outputs * weights).sum().backward)
    assert (step, sequence, unit) == (56, 2, (1,))
    assert "grows from step to step on its way back" in said


def test_what_the_data_lack_is_said_and_padding_is_not_looked_at():
    x = torch.randn(9, 2, 3)
    x[6, 1, 0] = torch.nan
    model = bptt.nn.LSTM(3, H)
    with bptt.detect_nonfinite():
        model(x, lengths=torch.tensor([9, 6]))
    with bptt.detect_nonfinite():
        *place, said = found(lambda: model(x, lengths=torch.tensor([9, 7])))
    assert place == [6, 1, (0,)]
    assert "of sequence 1, in unit 0 of its leaf 0, all counted from 0. " in said
    assert "input there is not finite" in said


def test_a_step_or_a_loss_that_is_not_finite_is_told_from_growth():
    def root(x, h):
        return torch.sqrt(h * 0.0 + x)

    x, state = torch.ones(9, 1, H), torch.ones(1, H, requires_grad=True)
    x[4] = -1.0
    with bptt.detect_nonfinite():
        assert "comes about in the step" in found(lambda: bptt.unroll(root, x, state))[-1]
        outputs, _ = bptt.unroll(lambda x, h: h + x, x, state)
    loss = (outputs[-1] - outputs[-1].detach()).sqrt().sum()
    assert "from the loss" in found(loss.backward)[-1]


def test_nothing_else_changes():
    torch.manual_seed(0)
    model = bptt.nn.GRU(3, H, num_layers=2, dropout=0.5)
    x, gradients, values = torch.randn(8, 2, 3), [], []
    for watch in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        if watch:
            with bptt.detect_nonfinite():
                outputs, _ = model(x)
        else:
            outputs, _ = model(x)
        outputs.square().sum().backward()
        values.append(outputs.detach())
        gradients.append([weight.grad.clone() for weight in model.parameters()])
    assert torch.equal(*values)
    torch.testing.assert_close(gradients[1], gradients[0])
    with torch.no_grad(), bptt.detect_nonfinite():
        assert not model(x)[0].requires_grad


def test_a_stream_stops_too():
    stream = bptt.Stream(growing(10.0), bptt.Truncated(4, 8))
    x = torch.zeros(30, 2, H)
    x[5, 1, 3] = 1.0
    with bptt.detect_nonfinite():
        stream(x)
        *place, _ = found(lambda: stream(x * 0))
    assert place == [5 + 39, 1, (3,)]  # counted from the stream's first step
