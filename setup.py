"""What pyproject.toml can't say: a wheel and an sdist have the review page in them, built by npm if it is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
PAGE, WEB = HERE / "src" / "smiler" / "review" / "page" / "index.html", HERE / "web"
WITHOUT = (
    "warning: the review page can't be built ({}), so this package has none, and smiler review will say so; "
    "install node >= 18.20 and npm and build again\n"
)


class BuildWithPage(build_py):
    """A wheel; an editable installation takes the page as it is."""

    def run(self) -> None:
        """Build the page, then find it among the package's data."""
        if not self.editable_mode:
            build_page()
            self.__dict__.pop("data_files", None)
        super().run()


class SdistWithPage(sdist):
    """An sdist, so that a wheel can be built from it without npm."""

    def run(self) -> None:
        """Build the page first."""
        build_page()
        super().run()


def build_page() -> None:
    """Build the page unless it is there; a warning where that can't be done."""
    npm = shutil.which("npm")
    if PAGE.is_file():
        return
    if npm is None or not WEB.is_dir():
        sys.stderr.write(WITHOUT.format("npm is not installed"))
        return
    try:
        if not (WEB / "node_modules").is_dir():
            subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=WEB, check=True)
        subprocess.run([npm, "run", "--silent", "build"], cwd=WEB, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(WITHOUT.format(error))


setup(cmdclass={"build_py": BuildWithPage, "sdist": SdistWithPage})
