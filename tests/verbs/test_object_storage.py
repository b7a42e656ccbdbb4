"""The commands on a real S3 server over loopback: the same bytes as on disk, done once, also by several processes."""

import importlib.util
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smiler.domain.cohort import Case, Cohort
from smiler.domain.remote import Remote, place
from smiler.formats.volumes import read_ct
from smiler.store.store import build_store

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
sys.path.insert(0, str(Path(__file__).parent))
from dicom_files import Slices
from test_spread import SPREAD, smiler, tree

MISSING = [name for name in ("s3fs", "moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install 'smiler-seg[dev]'"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(moto|botocore|aiobotocore|s3fs|boto3).*"),
]
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A store with the bucket `volumes`; this process and those that it starts find it as they would find any other."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in KEYS:
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "us")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
        import s3fs

        store = s3fs.S3FileSystem()
        store.mkdir("volumes")
        yield store
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def stored(s3: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cohort with everything but its ledger in the bucket."""
    s3.put(str(tiny.cohort.folder), "volumes/cohort", recursive=True)
    return with_addresses(tiny.cohort, tmp_path_factory.mktemp("addresses"), "s3://volumes/cohort")


def with_addresses(cohort: Cohort, folder: Path, base: str) -> Path:
    def moved(case: Case) -> Case:
        cells = {key: replace(c, path=f"{base}/{c.path}") if c.path else c for key, c in case.cells.items()}
        return replace(case, image=f"{base}/{case.image}", cells=cells)

    replace(cohort, folder=folder, cases=tuple(map(moved, cohort))).save()
    return folder


def objects(s3: Any, prefix: str) -> dict[str, bytes]:
    """Every object below a prefix."""
    s3.invalidate_cache()
    found = {name.removeprefix(f"{prefix}/"): s3.cat_file(name) for name in s3.find(prefix)}
    return {name: data for name, data in found.items() if not name.endswith(".lock")}


@pytest.mark.parametrize("spread", [[], *SPREAD], ids=lambda words: words[0] if words else "here")
def test_masks_in_a_bucket_are_those_on_disk_and_are_not_made_again(
    s3: Any, stored: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: list[str]
) -> None:
    prefix = f"volumes/masks{len(spread)}"
    words = ["--device", "cpu", "--out"]
    assert smiler("predict", tiny.run, tiny.cohort.folder, *words, tmp_path / "masks").code == 0
    if spread[:1] == ["--jobs"]:  # Ray's own files have long names below TMPDIR
        (tmp_path / "copies").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "copies"))
    done = smiler("predict", tiny.run, stored, *words, f"s3://{prefix}", *spread)
    assert done.code == 0, done.err
    assert done.out.endswith(f"masks and volumes.csv in s3://{prefix}\n")
    assert objects(s3, prefix) == tree(tmp_path / "masks")
    assert not list((tmp_path / "copies").rglob("*"))
    for case in ("case0", "case1"):  # who does them again writes them anew
        s3.pipe(f"{prefix}/{case}/liver.nii.gz", b"kept")
    s3.rm_file(f"{prefix}/case1/provenance.json")
    s3.pipe(f"{prefix}/case1/old.nii.gz", b"")
    assert smiler("predict", tiny.run, stored, *words, f"s3://{prefix}").code == 0
    again = objects(s3, prefix)
    assert again.pop("case0/liver.nii.gz") == b"kept"
    assert again.pop("case1/old.nii.gz") == b""
    assert all(tree(tmp_path / "masks")[name] == data for name, data in again.items())


def test_a_completed_cohort_in_a_bucket_is_a_cohort(s3: Any, stored: Path, tiny: Any, tmp_path: Path) -> None:
    words = ["relabel", tiny.run, stored]
    assert smiler(*words, tmp_path / "done", "--device", "cpu").code == 0
    done = smiler(*words, "s3://volumes/done", "--device", "cpu")
    assert done.code == 0, done.err
    assert objects(s3, "volumes/done") == tree(tmp_path / "done")
    told = [smiler("audit", folder, "--deep", "--json") for folder in (tmp_path / "done", "s3://volumes/done")]
    assert told[0] == told[1]
    assert json.loads(told[1].out)["faults"] == []
    name = next(name for name in objects(s3, "volumes/done/completed") if name.endswith(".nii.gz"))
    s3.pipe(f"volumes/done/completed/{name}", b"kept")
    assert smiler(*words, "s3://volumes/done", "--device", "cpu").code == 0
    assert s3.cat_file(f"volumes/done/completed/{name}") == b"kept"


def test_scores_and_the_store_are_those_of_files_on_disk(s3: Any, stored: Path, tiny: Any, tmp_path: Path) -> None:
    smiler("predict", tiny.run, tiny.cohort.folder, "--device", "cpu", "--out", tmp_path / "masks")
    smiler("predict", tiny.run, "s3://volumes/cohort", "--device", "cpu", "--out", "s3://volumes/scored")
    here = smiler("evaluate", tmp_path / "masks", tiny.cohort.folder, "--json", "--out", tmp_path)
    there = smiler("evaluate", "s3://volumes/scored", stored, "--json")
    assert json.loads(here.out) == json.loads(there.out)
    assert s3.cat_file("volumes/scored/scores.csv") == (tmp_path / "scores.csv").read_bytes()
    run = smiler("evaluate", tiny.run, stored, "--json", "--out", tmp_path, "--device", "cpu")
    assert run.code == 0
    one, two = build_store(tiny.cohort, tmp_path / "a"), build_store(Cohort.open(stored), tmp_path / "b")
    assert one.fingerprint == two.fingerprint


def test_dicom_in_a_bucket_is_a_folder_or_a_zip_file(s3: Any, tiny: Any, tmp_path: Path) -> None:
    ct = read_ct(tiny.image)
    origin = tuple(ct.geometry.matrix[:3, 3])
    series = Slices(ct.hu, origin=origin, spacing=ct.geometry.spacing).write(tmp_path / "dicom" / "series")
    s3.put(str(series), "volumes/dicom/series", recursive=True)
    s3.put_file(shutil.make_archive(str(tmp_path / "scans"), "zip", tmp_path / "dicom"), "volumes/dicom/scans.zip")
    words = ["--write", "nifti,dicom-seg", "--device", "cpu", "--out"]
    assert smiler("predict", tiny.run, series, *words, tmp_path / "here").code == 0
    for number, address in enumerate(("s3://volumes/dicom/series", "s3://volumes/dicom/scans.zip/series")):
        done = smiler("predict", tiny.run, address, *words, tmp_path / str(number))
        assert done.code == 0, done.err
        here, there = tree(tmp_path / "here"), tree(tmp_path / str(number))
        assert here.keys() == there.keys()
        told = [json.loads(files["series/provenance.json"])["parents"] for files in (here, there)]
        assert told[0] == told[1]
        assert all(here[name] == data for name, data in there.items() if name.endswith(".nii.gz"))


@pytest.mark.parametrize(
    ("image", "out", "said"),
    [
        ("s3://volumes/none.nii.gz", "out", "s3://volumes/none.nii.gz: the file does not exist"),
        ("s3://volumes/none", "out", "s3://volumes/none: the image does not exist"),
        ("s3://no-bucket/a.nii.gz", "out", "s3://no-bucket/a.nii.gz: the file does not exist"),
        (
            "gs://volumes/a.nii.gz",
            "out",
            "gs://volumes/a.nii.gz: a package for this address is missing (got Please install gcs",
        ),
        ("s3://volumes/broken.nii.gz", "out", "s3://volumes/broken.nii.gz: the file is truncated"),
        (
            "s3://volumes/cohort/images/case0.nii.gz",
            "s3://no-bucket/out",
            ": cannot write the object",
        ),
    ],
)
def test_what_fails_is_one_sentence(
    s3: Any, stored: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, out: str, said: str
) -> None:
    if image.startswith("gs:") and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    monkeypatch.chdir(tmp_path)
    s3.pipe("volumes/broken.nii.gz", tiny.image.read_bytes()[:5000])
    done = smiler("predict", tiny.run, image, "--out", out, "--device", "cpu")
    assert done.code == 2
    assert said in done.err, done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("*:"))


@pytest.mark.parametrize("how", ["no credentials", "nobody there"])
def test_credentials_and_connection_are_named(
    s3: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    if how == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(s3).clear_instance_cache()  # it would go on with what it knows
    done = smiler("predict", tiny.run, "s3://volumes/cohort/images/case0.nii.gz", "--out", tmp_path / "out")
    type(s3).clear_instance_cache()
    named = "Unable to locate credentials" if how == "no credentials" else "Could not connect to the endpoint URL"
    assert done.code == 2, done
    assert "s3://volumes/cohort/images/case0.nii.gz: the store can't be used" in done.err
    assert named in done.err
    assert "check the address, your credentials and the connection" in done.err
    assert "Traceback" not in done.err


def test_what_needs_a_disk_says_so(
    s3: Any, stored: Path, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["train", tiny.cohort.folder, "s3://volumes/run"],
        ["train", "s3://volumes/cohort", tmp_path / "run"],
        ["predict", "s3://volumes/run", tiny.image, "--out", tmp_path],
        ["import", "s3://volumes/data", tmp_path / "cohort"],
        ["import", tiny.cohort.folder, "s3://volumes/new"],
        ["hide", tiny.cohort.folder, "s3://volumes/hidden"],
        ["phantom", "s3://volumes/phantom"],
        ["export", tiny.cohort.folder, "s3://volumes/export"],
        ["audit", tiny.cohort.folder, "--out", "s3://volumes/page"],
        ["audit", "s3://volumes/cohort", "--fix-geometry", "copy"],
    ):
        done = smiler(*words)
        assert (done.code, "must be on a disk" in done.err) == (2, True), (words, done)
    assert not list(tmp_path.glob("*:"))
    done = smiler("export", stored, tmp_path / "exported", "--format", "totalsegmentator")
    assert done.code == 0, done.err
    assert (tmp_path / "exported" / "case0" / "ct.nii.gz").read_bytes() == tiny.image.read_bytes()


def test_the_python_api_takes_addresses(s3: Any, tiny: Any, tmp_path: Path) -> None:
    import smiler as api

    (done,) = api.predict(tiny.run, ["s3://volumes/cohort/images/case0.nii.gz"], "s3://volumes/api")
    assert done.volumes_ml
    assert isinstance(place("s3://volumes/api"), Remote)
    assert f"{done.name}/provenance.json" in objects(s3, "volumes/api")
    assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1")
