"""The short form of the campaign in benchmarks/kills.py: SIGKILL at random moments changes nothing."""

import re
import subprocess
import sys

from tests.e2e import CONFIGS


def test_killed_runs_go_on_exactly() -> None:
    command = [sys.executable, "benchmarks/kills.py", "--kills=2", "--steps=20", "--seed=1"]
    run = subprocess.run(command, cwd=CONFIGS.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = {name.strip(): int(count) for name, count in re.findall(r"^(.+?) +(\d+)$", run.stdout, re.MULTILINE)}
    assert seen["kills"] == 2
    assert seen["checkpoints of the reference"] == 20
    assert seen["differences"] == 0
