"""The process of one trial: `python -m smiler.experiments.worker FOLDER`, by hand or on another machine too."""

import sys
from pathlib import Path

from smiler.domain.errors import SmilerError
from smiler.experiments.trial import TrialFolder, run_trial


def main(folder: Path) -> int:
    """Run the trial; an error is one message and an exit status."""
    try:
        run_trial(TrialFolder(folder))
    except SmilerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
