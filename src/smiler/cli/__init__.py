"""The command line: thin, quick to start, and the only place that prints."""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from smiler.domain.errors import SmilerError

LONGEST_NAME = 300


def main() -> None:
    """Run a command; every error is one clear message and an exit code (0 fine, 1 a check failed, 2 wrong use)."""
    from smiler.cli.app import app
    from smiler.domain.errors import SmilerError

    try:
        app(prog_name="smiler")
    except SmilerError as error:
        _end(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        told = _of_the_system(error)
        if told is None:
            raise
        _end(told)


def _of_the_system(error: Exception) -> "SmilerError | None":
    """One sentence where the system has no memory left, or refuses a file in a way that no reader expects."""
    from smiler.domain.errors import BadInput
    from smiler.workers.memory import out_of_memory

    told = out_of_memory(error, f"smiler {' '.join(sys.argv[1:2])}")
    if told is None and isinstance(error, OSError) and error.filename is not None:
        name, got = str(error.filename), error.strerror or str(error)
        where = name if len(name) < LONGEST_NAME else f"{name[:LONGEST_NAME]}... ({len(name)} letters)"
        return BadInput("the system refuses the file", where=where, got=got, do="check its name and permissions")
    return told


def _end(error: "SmilerError") -> NoReturn:
    from smiler.cli.console import show_error

    show_error(error)
    sys.exit(error.exit_code)
