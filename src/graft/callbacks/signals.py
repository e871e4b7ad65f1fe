"""Signals that ask a run to stop or to save, heard at once and answered where its state is whole."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Notes SIGINT (Ctrl-C), SIGTERM, and the signal by which SLURM announces a preemption; `asked` is the last one.

    Another Ctrl-C stops at once. Handlers can run between any two instructions, in the middle of an optimizer step too:
    so they only take note.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take over the handlers that are in place. Where Lightning has one for SIGUSR1, it runs in a SLURM job."""
        self.asked = 0
        for number in (*STOPPING, signal.SIGUSR1):
            handler = signal.getsignal(number)
            if number in STOPPING or callable(handler):
                self.before[number] = signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        """What runs when a signal arrives. (`print` cannot be used: the signal may have interrupted a `print`.)"""
        self.asked = number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            os.write(2, b"\nStopping after this step. Press Ctrl-C again to stop at once, without saving.\n")

    def requeue(self) -> None:
        """What Lightning does when a preemption is announced: save, and put the job into the queue again."""
        self.asked = 0
        self.before[signal.SIGUSR1](signal.SIGUSR1, None)

    def ignore(self) -> None:
        """Put back the handlers that were in place."""
        while self.before:
            signal.signal(*self.before.popitem())
