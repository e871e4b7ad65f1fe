"""Ways to train, side by side: each in a process of its own, which does a step when it is told to.

They step in turn, one at a time, in the one order and in the other, so that each round gives a ratio to the first. With
one thread the time is the processor's, which other processes disturb less. The peak is that of the process's resident
memory during a step, above what it was with the model loaded (Linux).
"""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from grid import markdown

Said = dict[str, list[dict[str, float]]]
"""By way, what it said of each step: `seconds`, `peak` in bytes, and `loss`."""


def resident(field: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at the most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def serve(step: Callable[[], float], threads: int) -> None:
    """Do a step for each line that comes in, and say its seconds, its peak and its loss."""
    clock = time.process_time if threads == 1 else time.perf_counter
    trim = ctypes.CDLL("libc.so.6").malloc_trim  # what was freed is given back: to the next step, and to the others
    trim(0)
    loaded = resident("VmRSS")
    for _ in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        start = clock()
        loss = step()
        seconds = clock() - start
        print(json.dumps({"seconds": seconds, "peak": resident("VmHWM") - loaded, "loss": loss}), flush=True)
        trim(0)


class Stepper:
    """A process that steps when it is told to: a script, called with `options --serve name`."""

    def __init__(self, script: str, name: str, options: list[str]) -> None:
        command = [sys.executable, script, *options, "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = name

    def step(self) -> dict[str, float]:
        """What it says of one.

        Raises:
            SystemExit: The process ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended before: what it had to say it has said on stderr
        if not (said := self.process.stdout.readline()):
            raise SystemExit(f"error: {self.name} ended with exit code {self.process.wait()}, as said above.")
        answer: dict[str, float] = json.loads(said)
        return answer

    def end(self) -> None:
        """Let it go."""
        self.process.kill()
        self.process.wait()


def measure(script: str, names: list[str], options: list[str], pairs: int) -> Said:
    """What each said, round by round; the first, which warms up, is left out."""
    steppers: list[Stepper] = []
    said: Said = {name: [] for name in names}
    try:
        for name in names:
            steppers.append(Stepper(script, name, options))
            steppers[-1].step()  # one after the other: loading, too, takes memory
        for number in range(pairs):
            for stepper in steppers[:: -1 if number % 2 else 1]:
                said[stepper.name].append(stepper.step())
            print(f"round {number + 1} of {pairs}", file=sys.stderr, flush=True)
    finally:
        for stepper in steppers:
            stepper.end()
    return said


def table(said: Said) -> str:
    """A row for each way; the first is what the others are compared with."""
    first, *others = said
    least = max(each["peak"] for each in said[first])
    rows = [["", "time", "peak memory", "peak memory, GB"], [first, "1", "1", f"{least / 1e9:.2f}"]]
    for name in others:
        ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(said[name], said[first], strict=True))
        peak = max(each["peak"] for each in said[name])
        time_ratio = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append([name, time_ratio, f"{peak / least:.2f}", f"{peak / 1e9:.2f}"])
    return markdown(*rows)
