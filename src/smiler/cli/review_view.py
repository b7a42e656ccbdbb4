"""How `review` shows itself: addresses, reviewers, what a check found."""

import getpass
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from smiler.cli.console import out, print_json
from smiler.domain.errors import BadInput

MOST_NAME = 64


def names(host: str, reviewer: str, users: Path | None, *, allow_remote: bool) -> tuple[str, ...]:
    """Who may review; beyond this machine only who is named in a file, and only if that is allowed."""
    from smiler.review.server.run import LOOPBACK

    if host not in LOOPBACK and not allow_remote:
        do = "add --allow-remote and --users FILE, and see that the network between is yours"
        raise BadInput("that address can be reached from other machines", where="--host", got=host, do=do)
    if host not in LOOPBACK and users is None:
        do = "write one reviewer's name a line into a file and give it with --users"
        raise BadInput("reviewers on other machines are named", where="--users", do=do)
    if users is not None:
        return _from_file(users)
    return (_name(reviewer or _login(), "--reviewer"),)


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("the file can't be read", where=str(path), got=str(error)) from error
    found = [_name(line.strip(), f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.split("#")[0].strip()]
    if not found or len(set(found)) != len(found):
        raise BadInput("one name a line, each once", where=str(path), got=f"{len(found)} names")
    return tuple(found)


def _name(text: str, where: str) -> str:
    if not (text and len(text) <= MOST_NAME and text.isprintable()):
        raise BadInput("not a reviewer's name", where=where, got=ascii(text[:80]), do=f"1 to {MOST_NAME} letters")
    return text


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "reviewer"


def announce(urls: Mapping[str, str], *, as_json: bool, browser: bool) -> None:
    """Print each reviewer's address; open the only one."""
    if as_json:
        print_json({"urls": dict(urls)})
    else:
        for name, url in urls.items():
            out.print(f"{name}: {url}" if len(urls) > 1 else f"review page: {url}", markup=False, soft_wrap=True)
        out.print("Ctrl-C ends it; what was decided is stored.", markup=False)
    sys.stdout.flush()
    if browser and len(urls) == 1:
        webbrowser.open(next(iter(urls.values())))
