"""The data that a run was begun with, found again."""

from bptt.errors import DataError, RunError
from bptt.tasks import fingerprint
from bptt.train.config import Config


def check_data(config: Config) -> None:
    """Raise `RunError` if the data are not there, or not what the run was begun with."""
    try:
        now = fingerprint(config.data, config.task)
    except DataError as error:
        raise RunError(f"the data that the run was begun with are not there: {error}") from error
    if now != config.fingerprint:
        raise RunError(
            f"the data in {config.data} have changed since the run began: expected "
            f"{config.fingerprint}, found {now}. Put the old file back, or train to a new folder"
        )
