"""What would be published: an sdist, and a wheel that is built from it and installed: `make check-package`."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PAGE, NOTICES = "smiler/review/page/index.html", "smiler/review/page/THIRD-PARTY.txt"
WORKS = ("@niivue/niivue", "preact")
IN_SDIST = (
    "constraints.txt", "Makefile", "web/package-lock.json", "web/src/main.tsx", "tests/conftest.py", f"src/{PAGE}",
)  # fmt: skip
ASK = "from smiler.review.server.page import Page; import smiler.api; print('THIRD-PARTY.txt' in Page().files)"


def build(what: str, folder: Path, out: Path) -> Path:
    """The sdist or wheel of a folder, by setuptools as it is installed here."""
    code = f"import setuptools.build_meta as build; print(build.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


def missing(wheel: Path, sdist: Path) -> list[str]:
    """What is not in the files as it should be."""
    with zipfile.ZipFile(wheel) as inside:
        names = set(inside.namelist())
        notices = inside.read(NOTICES).decode() if NOTICES in names else ""
    with tarfile.open(sdist) as packed:
        sources = {name.partition("/")[2] for name in packed.getnames()}
    faults = [f"{wheel.name} lacks {name}: run make page" for name in (PAGE, NOTICES) if name not in names]
    faults += [f"{wheel.name} names no licence of {work}" for work in WORKS if f"\n{work} " not in notices]
    faults += [f"{sdist.name} lacks {name}" for name in IN_SDIST if name not in sources]
    return faults


def main() -> int:
    """Build, look inside, install beside nothing else and start it."""
    out = ROOT / "dist"
    out.mkdir(exist_ok=True)
    sdist = build("sdist", ROOT, out)
    with TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as packed:
            packed.extractall(scratch, filter="data")
        (unpacked,) = Path(scratch).iterdir()
        wheel = build("wheel", unpacked, out)
        faults = missing(wheel, sdist)
        place = Path(scratch) / "installed"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place)]
        subprocess.run([*install, str(wheel)], check=True)
        asked = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r}); {ASK}"]
        told = subprocess.run(asked, cwd=scratch, capture_output=True, text=True, check=True).stdout.strip()
        faults += [] if told == "True" else ["the installed server finds no page"]
    print("\n".join(faults) or f"whole: {sdist.name}, {wheel.name} in {out}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
