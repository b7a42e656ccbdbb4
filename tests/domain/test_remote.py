"""Addresses as paths: they join and travel, are fetched once and go, and whatever fails is one clear error."""

import http.server
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pytest

from smiler.domain.cells import ABSENT, annotated
from smiler.domain.cohort import Case, Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.fetching import ABANDONED_SECONDS, PREFIX, fetched, keeping
from smiler.domain.files import read_json, write_json
from smiler.domain.locks import writing
from smiler.domain.organs import Organ, OrganSet
from smiler.domain.places import content, exists
from smiler.domain.remote import Remote, local, place


@dataclass
class Web:
    """A web server, what it holds, and what it was asked for. `cut`: so many bytes it sends less than it says."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut: int = 0


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            data = found.files.get(self.path.partition("?")[0])
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write((data or b"")[: len(data or b"") - found.cut])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.address = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
        thread.join()


def test_an_address_joins_and_travels_as_a_path() -> None:
    folder = place("s3://bucket/cohort")
    path = folder / "images" / "a.nii.gz"
    assert isinstance(path, Remote)
    assert str(path) == path.address == "s3://bucket/cohort/images/a.nii.gz"
    assert (path.name, str(path.parent.parent)) == ("a.nii.gz", "s3://bucket/cohort")
    assert str(path.with_name("b")) == "s3://bucket/cohort/images/b"
    assert path.relative_to(folder).as_posix() == "images/a.nii.gz"
    sent = pickle.loads(pickle.dumps(path))  # noqa: S301  our own
    assert sent == path == place(Path("s3://bucket/cohort/images/a.nii.gz"))
    assert {path: 1}[place("s3://bucket/cohort/images/a.nii.gz")] == 1


def test_what_a_cell_says_counts_from_the_cohorts_folder(tmp_path: Path) -> None:
    remote = place("s3://bucket/cohort")
    for folder, text, expected in (
        (tmp_path, "a.nii.gz", f"{tmp_path}/a.nii.gz"),
        (tmp_path, "/data/a.nii.gz", "/data/a.nii.gz"),
        (tmp_path, "s3://other/a.nii.gz", "s3://other/a.nii.gz"),
        (tmp_path, f"file://{tmp_path}/a.nii.gz", f"{tmp_path}/a.nii.gz"),
        (tmp_path, "odd:/a.nii.gz", f"{tmp_path}/odd:/a.nii.gz"),
        (remote, "images/a.nii.gz", "s3://bucket/cohort/images/a.nii.gz"),
        (remote, "../images/a.nii.gz", "s3://bucket/images/a.nii.gz"),
        (remote, "/data/a.nii.gz", "/data/a.nii.gz"),
    ):
        assert str(place(text, folder)) == expected


def test_secrets_of_an_address_are_used_and_not_told(web: Web) -> None:
    web.files["/ct.nii.gz"] = b"voxels"
    path = place(f"{web.address}/ct.nii.gz?X-Signature=secret")
    with fetched(path) as copy:
        assert (copy.name, copy.read_bytes()) == ("ct.nii.gz", b"voxels")
    assert web.asked == ["/ct.nii.gz?X-Signature=secret"]
    assert str(path) == f"{web.address}/ct.nii.gz"
    with pytest.raises(BadInput, match="does not exist") as caught, fetched(place(f"{web.address}/no.nii?key=secret")):
        pass
    assert "secret" not in str(caught.value)
    assert str(place("https://me:secret@host/a.nii")) == "https://host/a.nii"
    assert str(place("abfs://container@account/a.nii?b")) == "abfs://container@account/a.nii?b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo://b/x.nii", r"foo://b/x\.nii: no such kind of address; got foo://; do: use s3://"),
        ("s3://b//x.nii", "the address can't be followed; do: write SCHEME://HOST/NAME"),
        ("s3://b/../x.nii", "the address can't be followed"),
        ("s3:///x.nii", "the address can't be followed"),
    ],
)
def test_an_address_that_means_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        place(text)


def test_a_ledger_names_the_row_of_a_wrong_address_and_looks_at_none(tmp_path: Path) -> None:
    cells = {"liver": annotated("memory://nowhere/a.nii.gz", (1, 2)), "spleen": ABSENT}
    image = "s3://bucket/what is not there.nii.gz"
    made = Cohort(tmp_path, OrganSet((Organ("liver"), Organ("spleen"))), (Case("a", "p", image, cells),))
    made.save()
    (case,) = Cohort.open(tmp_path)
    assert (case.image, case.cells) == (image, cells)
    ledger = tmp_path / "cases.csv"
    ledger.write_text(ledger.read_text().replace("memory://", "memroy://"))
    with pytest.raises(BadInput, match=r"cases\.csv, row 2, column liver: no such kind of address; got 'memroy://"):
        Cohort.open(tmp_path)


def test_addresses_stay_as_they_are_in_another_folder(tmp_path: Path) -> None:
    case = Case("a", "p", "images/a.nii.gz", {"liver": annotated("https://host/a.nii.gz?key=x", (1,))})
    organs = OrganSet((Organ("liver"),))
    remote = Cohort(place("s3://bucket/cohort"), organs, (case,))
    assert relocate(remote, case, tmp_path).image == "s3://bucket/cohort/images/a.nii.gz"
    assert relocate(remote, case, place("s3://bucket")).image == "cohort/images/a.nii.gz"
    assert relocate(remote, case, tmp_path).cells == case.cells
    here = Cohort(tmp_path, organs, (case,))
    assert relocate(here, case, place("s3://bucket/completed")).image == f"{tmp_path}/images/a.nii.gz"


def test_what_is_fetched_is_shared_and_goes(web: Web) -> None:
    web.files["/a.nii"] = b"a"
    path, copies = place(f"{web.address}/a.nii"), []
    with keeping():
        for _ in range(3):
            with fetched(path) as copy:
                copies.append(copy)
        assert copies[0].read_bytes() == b"a"
    assert len(web.asked) == len(set(copies)) == 1
    assert not copies[0].parent.exists()
    with fetched(path) as first, fetched(path) as second:
        assert first == second
    assert len(web.asked) == 2
    assert not first.exists()


def test_threads_that_want_one_file_fetch_it_once(web: Web) -> None:
    web.files["/a.nii"] = bytes(1_000_000)
    path, together, sizes = place(f"{web.address}/a.nii"), threading.Barrier(8), []

    def want() -> None:
        together.wait()
        with fetched(path) as copy:
            sizes.append(copy.stat().st_size)
            together.wait()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [1_000_000] * 8
    assert len(web.asked) == 1


def test_a_lost_connection_leaves_no_part_of_a_file(web: Web) -> None:
    web.files["/a.nii"], web.cut = bytes(100_000), 10
    path = place(f"{web.address}/a.nii")
    with pytest.raises(BadInput, match=r"/a\.nii: the store can't be used; got .*; do: check the address"):
        content(path)
    web.cut = 0
    with fetched(path) as copy:
        assert copy.stat().st_size == 100_000


def test_nobody_there_is_one_error() -> None:
    with pytest.raises(BadInput, match=r"http://127\.0\.0\.1:1/a\.nii: the store can't be used; got ClientConnector"):
        content(place("http://127.0.0.1:1/a.nii"))


def test_hashes_are_those_of_the_files_on_disk(web: Web, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in ("image_10", "image_2", "deeper/image_1"):
        (tmp_path / "series" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "series" / name).write_bytes(name.encode())
        store.pipe(f"/hashes/series/{name}", name.encode())
    web.files["/image_2"] = b"image_2"
    assert content(place("memory://hashes/series")) == content(tmp_path / "series")
    assert content(place(f"{web.address}/image_2.nii".removesuffix(".nii"))) == content(tmp_path / "series" / "image_2")
    assert content(place("memory://hashes/series/SeriesInstanceUID=1.2")) == content(
        tmp_path / "series" / "SeriesInstanceUID=1.2"
    )
    assert exists(place("memory://hashes/series"))
    assert not exists(place("memory://hashes/serie"))


def test_files_are_written_read_listed_and_deleted() -> None:
    path = place("memory://written/a/facts.json")
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert (path.is_file(), path.is_dir(), path.parent.is_dir()) == (True, False, True)
    assert [str(found) for found in path.parent.iterdir()] == ["memory://written/a/facts.json"]
    path.unlink()
    path.unlink(missing_ok=True)
    assert not path.exists()
    with pytest.raises(BadInput, match=r"memory://written/a/facts\.json: the file does not exist"):
        read_json(path)


def test_what_must_be_on_a_disk_is_refused_and_no_folder_of_that_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("s3://bucket/run", Path("s3://bucket/run")):
        with pytest.raises(BadInput, match="s3://bucket/run: a run must be on a disk; do: copy or mount it"):
            local(address, "a run")
    with pytest.raises(BadInput, match="must be on a disk"), writing(Path("s3://bucket/run")):
        pass
    with pytest.raises(BadInput, match="must be on a disk"):
        write_json(Path("s3://bucket/run/x.json"), {})
    assert list(tmp_path.iterdir()) == []


def test_copies_of_a_process_that_was_killed_go_when_another_fetches(tmp_path: Path) -> None:
    lines = "import os,signal,sys,fsspec", "from smiler.domain.fetching import fetched"
    lines += "from smiler.domain.remote import place", "fsspec.filesystem('memory').pipe('/a.nii', b'a')"
    program = "\n".join((*lines, "with fetched(place('memory://a.nii')): os.kill(os.getpid(), int(sys.argv[1]))"))

    def run(number: int) -> list[Path]:
        command, env = [sys.executable, "-c", program, str(number)], {**os.environ, "TMPDIR": str(tmp_path)}
        subprocess.run(command, env=env, check=False)
        return sorted(tmp_path.glob(f"{PREFIX}*"))

    (left,) = run(signal.SIGKILL)
    assert [path.name for path in left.rglob("*.nii")] == ["a.nii"]
    assert len(run(signal.SIGCONT)) == 1  # the next one leaves nothing, but does not yet dare to remove it
    os.utime(left, (0, time.time() - 2 * ABANDONED_SECONDS))
    assert run(signal.SIGCONT) == []
