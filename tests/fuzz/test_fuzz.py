"""Thousands of broken inputs for each reader of what strangers wrote: no traceback, no hang, no gigabyte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS

INPUTS = int(os.environ.get("SMILER_FUZZ_INPUTS", 2_000))
"""make test-fuzz: 10,000."""


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_used_or_refused(name: str) -> None:
    script = Path(__file__).with_name("targets.py")
    command = [sys.executable, str(script), name, str(INPUTS), "0"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["findings"] == []
    assert told["inputs"] == INPUTS
    assert told["used"] > 100
    assert told["refused"] > 100
    assert told["slowest_s"] < 20  # of CPU: a hang, not a slow machine
    assert told["peak_mb"] < 1024
