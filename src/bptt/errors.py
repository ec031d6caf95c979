"""What can go wrong, one class for each kind of mistake a user can make.

Every class is also a `TypeError`, `ValueError` or `RuntimeError`, so that code written for torch's
own modules catches it. Every message says what was expected, what was given and how to put it
right.
"""


class StructureError(TypeError):
    """A state or an output whose pytree is not the one that is needed."""


class ArgumentError(ValueError):
    """An argument whose shape, dtype, device or value does not fit the others."""


class CellError(TypeError):
    """A cell that does not keep the protocol of a recurrent step."""


class BackendError(RuntimeError):
    """A backend that was asked for by name and cannot run here."""


class BackendWarning(UserWarning):
    """A cell that no kernel can be made of, so that the reference backend runs it."""


class NonFiniteError(ArithmeticError):
    """NaN or infinity in a state, an output or the error's gradient; see `bptt.detect_nonfinite`.

    Attributes:
        step: the time index at which it comes up first; in a stream, of all its steps.
        sequence: of the batch.
        unit: its index within the sequence's row.
    """

    def __init__(self, message: str, step: int, sequence: int, unit: tuple[int, ...]) -> None:
        super().__init__(message)
        self.step, self.sequence, self.unit = step, sequence, unit


class DataError(ValueError):
    """A file or table that cannot be trained on as it is. The command exits with 2."""


class DataWarning(UserWarning):
    """Something in new data that the user should know of before they trust what comes of them."""


class RunError(ValueError):
    """A run's folder that is missing, broken, in the way, or of a newer version. Exits with 2."""


class RunWarning(UserWarning):
    """Something about a run that the user should know of before they trust what comes of it."""


class StreamWarning(UserWarning):
    """A stream that cannot go on from where it is told to, and starts afresh."""


class TorchArgumentError(ArgumentError, RuntimeError):
    """An argument that does not fit, where torch.nn's modules raise a RuntimeError."""


class TorchStructureError(StructureError, RuntimeError):
    """A state or input of the wrong structure, where torch.nn's modules raise a RuntimeError."""


NOT_TWICE = (
    "A stream that goes back from stored states has no gradient of its gradient: the states belong "
    "to other weights. Use Stream(..., weights='recomputed')."
)
