"""The command line: thin, quick to start, and the only place that prints."""

import os
import sys


def main() -> None:
    """Run a command; every error is one clear message and an exit code (0 fine, 1 a check failed, 2 wrong use)."""
    from smiler.cli.app import app
    from smiler.domain.errors import SmilerError

    try:
        app(prog_name="smiler")
    except SmilerError as error:
        from smiler.cli.console import show_error

        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
