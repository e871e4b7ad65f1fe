"""Images to hold an exported model against the trained one."""

from textwrap import shorten
from typing import Any

from graft.export.task import Task
from graft.run import Run

COUNT = 2


def batch(run: Run, task: Task) -> tuple[dict[str, Any], str]:
    """A few images that the run was validated on, and where they are from; random ones where there are none."""
    try:
        data = run.data(batch_size=COUNT, num_workers=0)
        data.setup("validate")
        found: dict[str, Any] = next(iter(data.val_dataloader()))
    except Exception as error:  # what is wrong with the data, whatever it is, is not wrong with the model
        reason = shorten(str(error), 200) or type(error).__name__
        return task.random(COUNT), f"{COUNT} random images, since the run's data cannot be read here ({reason})"
    return found, f"{len(found['image'])} images of the val split of {type(data).__name__}"
