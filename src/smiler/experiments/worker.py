"""A process that runs trials: `python -m smiler.experiments.worker FOLDER...`, by hand or on another machine too.

Without folders it reads them from standard input, one a line, and answers each with a line: its exit status. Everything
else that a trial says goes to `log.txt` in its folder.
"""

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from smiler.domain.errors import SmilerError, Stopped

LOG = "log.txt"
PATIENCE_SECONDS = 0.5


def main(folders: list[str]) -> int:
    """Run the trials that are named, or those that standard input names."""
    if folders:
        return max(run(Path(folder)) for folder in folders)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        status = run_logged(Path(line.rstrip("\n")))
        answers.write(f"{status}\n")
        if status == Stopped.exit_code:
            return status
    return 0


def _end_with_parent(parent: int) -> None:
    """Whoever reads the answers may be killed: then this process must not hold the trial's folder any longer."""
    while os.getppid() == parent:
        time.sleep(PATIENCE_SECONDS)
    os._exit(1)


def run_logged(folder: Path) -> int:
    """Run one trial; whatever it says goes to its log."""
    own = os.dup(1), os.dup(2)
    try:
        with (folder / LOG).open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        return run(folder)
    finally:
        for number, kept in enumerate(own, start=1):
            os.dup2(kept, number)
            os.close(kept)


def run(folder: Path) -> int:
    """Run one trial; an error is a message and an exit status."""
    from smiler.experiments.trial import TrialFolder, run_trial

    try:
        run_trial(TrialFolder(folder))
    except SmilerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception:  # noqa: BLE001  told in the log and by the status; the process lives on for the other trials
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(Stopped.exit_code)
