"""Commands in processes of their own that begin with everything imported: forked from one that has it.

To import torch and Lightning takes a fresh process seconds. They are lost where the test is of the process (it is
killed, it is one of two) and not of its start.
"""

import os
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = get_context("forkserver")
_context.set_forkserver_preload(["smiler.cli", "smiler.verbs.train", "smiler.training.plot", "matplotlib.figure"])


def start(*words: str, output: Path | None = None, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """`smiler WORDS...`, under way; what it says goes to a file, or nowhere."""
    process = _context.Process(target=_run, args=(words, output, dict(environment or {})), daemon=True)
    process.start()
    return process


def wait(process: BaseProcess) -> int | None:
    """The exit status of a process, once it has ended; that of one killed by signal n is -n."""
    process.join()
    return process.exitcode


def _run(words: tuple[str, ...], output: Path | None, environment: dict[str, str]) -> None:
    from smiler.cli import main

    os.environ.update({"OMP_NUM_THREADS": "1", **environment})
    told = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(told, stream)
    sys.argv = ["smiler", *words]
    main()
