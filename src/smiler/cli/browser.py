"""Open an address with a token in the browser without saying it: everybody sees the words of another's command."""

import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path

_ONWARD = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    '<meta http-equiv="refresh" content="0;url={url}"><title>smiler</title><a href="{url}">open the page</a>'
)


@contextmanager
def opened(url: str) -> Iterator[None]:
    """Open the address now; the file that leads the browser there is this user's alone, and goes at the end."""
    with ExitStack() as stack:
        try:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="smiler-", ignore_cleanup_errors=True))
            )
            page = folder / "open.html"
            page.touch(mode=0o600)
            page.write_text(_ONWARD.format(url=escape(url)), encoding="utf-8")
        except OSError:
            pass  # the address was printed
        else:
            _end_in_order(stack)
            webbrowser.open(page.as_uri())
        yield


def _end_in_order(stack: ExitStack) -> None:
    """Asked to end, the process does so as after Ctrl-C: nothing stays behind."""
    stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + 15)))
