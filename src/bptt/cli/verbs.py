"""The verbs of the command, each imported only when it is used."""

import shlex

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError, ValidationError
from rich.text import Text

from bptt.version import __version__


def _plain(error: CycloptsError) -> Text:
    """A usage error in the words of all other errors."""
    if isinstance(error, UnusedCliTokensError):
        verb = " ".join(("bptt", *(error.command_chain or ())))
        left = shlex.join(error.unused_tokens or ())
        return Text(f"bptt: too many words for {verb}: {left}. What it takes: {verb} --help")
    own = isinstance(error, ValidationError) and error.exception_message
    return Text(f"bptt: {own or error}")


app = App(
    name="bptt",
    help="Train recurrent networks by back-propagation through time.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    error_formatter=_plain,
    suppress_keyboard_interrupt=False,
)

VERBS = {
    "train": "Train a network on a table, on sequences or on a text.",
    "predict": "Forecast, or classify, with a trained network.",
    "evaluate": "Measure a trained network on new data, beside naive rules.",
    "generate": "Let a network trained on a text write.",
    "report": "Write a run's report again.",
    "datasets": "List the data sets that come with bptt.",
    "explain": "Work one step of back-propagation through time with real numbers.",
}

for order, (verb, about) in enumerate(VERBS.items()):
    app.command(f"bptt.cli.{verb}:{verb}", name=verb, help=about, sort_key=order)
