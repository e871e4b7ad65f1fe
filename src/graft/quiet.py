"""Less noise: what libraries say about things that are meant so is not said."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def quiet() -> None:
    """Silence what Lightning says about things that are meant."""
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # what is frozen stays in it
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # between Lightning and torch
    warnings.filterwarnings("ignore", message=r"\s+(By default only one Jsonarg|.+ was deprecated)")  # so too
    warnings.filterwarnings("ignore", message=r"LightningCLI's args parameter")  # `main` takes arguments to be run so
    warnings.filterwarnings("ignore", message=r"The dirpath has changed from")  # each run has a log folder of its own
    warnings.filterwarnings("ignore", message=r"It is recommended to use `self.log\('(val|test)/")  # computed by all
    warnings.filterwarnings("ignore", message=r"The '\w+_dataloader' does not have many workers")  # the config says so
    warnings.filterwarnings(
        "ignore", message=r"The number of training batches .* smaller than the logging"
    )  # it counts on
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)


@contextmanager
def hushed(name: str) -> Iterator[None]:
    """Without warnings, and of a library's logger errors alone: for what is meant, whoever complains."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
