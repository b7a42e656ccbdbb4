"""What is built from a clone: an sdist with all that is needed, a wheel with the review page."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="setuptools >= 77 is not installed")
ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "constraints.txt", "README.md", "LICENSE", "CHANGELOG.md",
         "CONTRIBUTING.md", "Makefile")  # fmt: skip
IN_SDIST = {
    "web/package-lock.json", "web/src/main.tsx", "web/notices.ts", "web/licences/@niivue-niivue.txt",
    "tests/conftest.py", "tests/package/test_package.py", "benchmarks/bench.py", "docs/architecture.md",
    "src/smiler/review/page/index.html", "src/smiler/py.typed",
}  # fmt: skip
NOT_COPIED = shutil.ignore_patterns("node_modules", "page", "__pycache__", "results")
NPM = """#!/bin/sh
echo "npm $*"
[ "$1" = ci ] && mkdir node_modules
[ "$1" = run ] && mkdir -p ../src/smiler/review/page && echo built > ../src/smiler/review/page/index.html
exit 0
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository without the page."""
    folder = tmp_path / "clone"
    for name in ("src", "web", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=NOT_COPIED)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "architecture.md", folder / "docs")
    return folder


def built(clone: Path, what: str, path: str) -> tuple[Path, str]:
    """The sdist or wheel that setuptools makes with only the programs of `path`, and what it said."""
    code = f"import setuptools.build_meta as build; print(build.build_{what}('dist'))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=clone, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return clone / "dist" / done.stdout.splitlines()[-1], done.stdout + done.stderr


def test_without_npm_a_wheel_is_built_and_says_that_it_has_no_page(clone: Path) -> None:
    wheel, said = built(clone, "wheel", "/nowhere")
    assert "warning: the review page can't be built (npm is not installed), so this package has none" in said
    names = zipfile.ZipFile(wheel).namelist()
    assert "smiler/cli/app.py" in names
    assert "smiler/recipe/recipes/smiler.toml" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "smiler/review/page"))]


def test_with_npm_the_page_is_built_into_an_sdist_and_a_wheel_of_it_needs_no_npm(clone: Path) -> None:
    programs = clone.parent / "programs"
    programs.mkdir()
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    sdist, said = built(clone, "sdist", f"{programs}:/usr/bin:/bin")
    assert "npm ci" in said
    assert "npm run --silent build" in said
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
        packed.extractall(clone.parent / "unpacked", filter="data")
    assert set(FILES) | IN_SDIST <= names
    assert not [name for name in names if "node_modules" in name or name.endswith(".pyc")]
    (unpacked,) = (clone.parent / "unpacked").iterdir()
    wheel, said = built(unpacked, "wheel", "/nowhere")
    assert "warning: the review page" not in said
    assert zipfile.ZipFile(wheel).read("smiler/review/page/index.html") == b"built\n"


def test_a_page_that_npm_can_not_build_is_told(clone: Path) -> None:
    programs = clone.parent / "programs"
    programs.mkdir()
    (programs / "npm").write_text("#!/bin/sh\nexit 3\n")
    (programs / "npm").chmod(0o755)
    _, said = built(clone, "wheel", f"{programs}:/usr/bin:/bin")
    assert "warning: the review page can't be built" in said
    assert "returned non-zero exit status 3" in said
