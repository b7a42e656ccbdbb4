"""The server as 3D Slicer's MONAI Label client drives it, over a real socket: no cookies, the token in the path."""

import gzip
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import nibabel as nib
import numpy as np
import pytest
from reviewing import AORTA, LIVER, ORGANS, SHAPE, SPLEEN, Mask, Served, box_mask, cells, serving, stored
from typer.testing import CliRunner

from smiler.cli.app import app
from smiler.domain.organs import Organ, OrganSet
from smiler.review import labelmap
from smiler.review import masks as kept
from smiler.review.errors import Pair
from smiler.review.server import limits

LIMIT = "----------lImIt_of_THE_fIle_eW_$"
NAMES = ORGANS.keys


class Slicer:
    """What the extension's client sends: `http.client`, the server's path as a prefix, its own kind of form."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def ask(
        self, method: str, selector: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        parsed = urlsplit(self.url)
        connection = http.client.HTTPConnection(parsed.hostname or "", parsed.port, timeout=60)
        try:
            connection.request(method, parsed.path.rstrip("/") + selector, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method: str, selector: str, params: Any = None) -> Any:
        body = None if params is None else json.dumps(params).encode()
        status, _, content = self.ask(method, selector, body, {"content-type": "application/json"} if body else None)
        assert status == 200, content
        return json.loads(content)

    def next(self) -> dict[str, Any]:
        sample: dict[str, Any] = self.json("POST", "/activelearning/queue", {"client_id": "user-xyz"})
        return sample

    def form(
        self, method: str, selector: str, params: Any, file: bytes | None = None, name: str = "/tmp/label.nii.gz"
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        lines = [b"--" + LIMIT.encode(), b'Content-Disposition: form-data; name="params"', b""]
        lines.append(params if isinstance(params, bytes) else json.dumps(params).encode())
        if file is not None:
            disposition = f'Content-Disposition: form-data; name="label"; filename="{name}"'
            lines += [b"--" + LIMIT.encode(), disposition.encode(), b"Content-Type: application/gzip", b"", file]
        body = b"\r\n".join([*lines, b"--" + LIMIT.encode() + b"--", b"", b""])
        return self.ask(method, selector, body, {"content-type": f"multipart/form-data; boundary={LIMIT}"})

    def save(self, case: str, file: bytes, names: Any = NAMES, **more: Any) -> tuple[int, dict[str, Any]]:
        info = [{"name": name, "idx": n} for n, name in enumerate(names, 1)]
        selector = f"/datastore/label?image={quote_plus(case)}&tag=final"
        status, _, content = self.form("PUT", selector, {"label_info": info, "client_id": "me"}, file, **more)
        return status, json.loads(content)

    def label(self, case: str, tag: str = "original") -> Any:
        status, headers, content = self.ask("GET", f"/datastore/label?label={quote_plus(case)}&tag={tag}")
        assert status == 200, content
        assert headers["content-disposition"] == f'attachment; filename="{case}.nii.gz"'
        return nifti(content)


def nifti(content: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def on_ras(image: Any) -> Mask:
    array: Mask = np.asarray(nib.as_closest_canonical(image).dataobj).astype(np.uint8)
    return array


def packed(ras: np.ndarray, axes: str = "RAS", affine: np.ndarray | None = None) -> bytes:
    """A label map as Slicer writes it: gzipped, sform and qform."""
    image = nib.Nifti1Image(ras, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    image = image.as_reoriented(turn)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    return bytes(gzip.compress(image.to_bytes(), 1))


def whole(*masks: tuple[str, Mask]) -> Mask:
    """A label map; the later lies on top."""
    made = np.zeros(SHAPE, np.uint8)
    for organ, mask in masks:
        made[mask != 0] = NAMES.index(organ) + 1
    return made


GIVEN = (("liver", LIVER), ("spleen", SPLEEN), ("aorta", AORTA))


@pytest.fixture
def open_server(folder: Path) -> Iterator[Served]:
    with serving(folder, monailabel=True) as running:
        yield running


@pytest.fixture
def slicer(open_server: Served) -> Slicer:
    return Slicer(open_server.slicer["anna"])


@pytest.fixture
def ids(open_server: Served) -> dict[str, str]:
    return open_server.reviewer("anna").ids


def states(served: Served, case: str) -> dict[str, tuple[str, int]]:
    return {organ: (head.state, head.number) for organ, head in served.desk.ledger.heads_of(case).items()}


# --- what the extension reads


def test_info_is_what_the_extension_expects(slicer: Slicer) -> None:
    told = slicer.json("GET", "/info/")
    assert "config" not in told  # the extension takes it for an old server
    assert told["labels"] == list(NAMES)
    assert {model["type"] for model in told["models"].values()} == {"segmentation"}
    assert all(model["description"] for model in told["models"].values())
    assert told["trainers"] == told["train_stats"] == {}
    assert list(told["strategies"]) == ["queue"]
    assert told["datastore"] == {"total": 4, "completed": 1}
    assert slicer.json("GET", "/auth/") == {"enabled": False}


def test_nothing_trains(slicer: Slicer) -> None:
    for method, path in (
        *(("GET", "/train/?check_if_running=true"), ("GET", "/train/"), ("DELETE", "/train/")),
        *(("POST", "/train/"), ("POST", "/train/drawn")),
    ):
        status, _, content = slicer.ask(method, path)
        assert (status, "does not train" in json.loads(content)["error"]["what"]) == (404, True)


def test_next_sample_and_its_image(slicer: Slicer, folder: Path) -> None:
    given = [slicer.next() for _ in range(3)]
    assert {sample["PatientID"] for sample in given} == set("bcd")  # of a nothing is open
    assert slicer.next()["id"] == given[0]["id"]  # all were given: from the beginning
    for sample in given:
        assert sample["name"] == f"{sample['id']}.nii.gz"
        selector = f"/datastore/image?image={sample['id']}"
        status, headers, content = slicer.ask("GET", selector)
        assert (status, headers["content-type"]) == (200, "application/gzip")
        assert sample["checksum"] == f"SHA256:{hashlib.sha256(content).hexdigest()}"
        head = slicer.ask("HEAD", selector)
        assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(content)), b"")
        image, ct = nifti(content), nib.load(folder / f"ct/{sample['PatientID']}.nii.gz")
        assert np.array_equal(image.affine, ct.affine)
        assert np.array_equal(np.asarray(image.dataobj), np.asarray(ct.dataobj))
    assert slicer.ask("POST", "/activelearning/random", b"{}")[0] == 404


def test_the_datastore_names_labels_in_order(slicer: Slicer, ids: dict[str, str]) -> None:
    assert slicer.json("GET", "/datastore/") == slicer.json("GET", "/datastore/?output=stats")
    objects = slicer.json("GET", "/datastore/?output=all")["objects"]
    assert (len(objects), set(ids.values()) <= set(objects)) == (4, True)
    params = objects[ids["b"]]["labels"]["original"]["info"]["params"]
    assert list(params["label_names"].items()) == [(organ, n) for n, organ in enumerate(NAMES, 1)]
    assert objects[ids["d"]]["labels"] == {}
    assert slicer.json("GET", "/datastore/?output=train") == []
    assert slicer.ask("GET", "/datastore/?output=everything")[0] == 422


@pytest.mark.parametrize("case", "bc")
def test_labels_lie_on_the_cts_own_grid(slicer: Slicer, ids: dict[str, str], folder: Path, case: str) -> None:
    image = slicer.label(ids[case])
    assert np.array_equal(image.affine, nib.load(folder / f"ct/{case}.nii.gz").affine)
    assert np.array_equal(on_ras(image), whole(*GIVEN))
    assert np.array_equal(on_ras(slicer.label(ids[case], "final")), whole(*GIVEN))


def test_infer_answers_with_what_is_drawn(slicer: Slicer, ids: dict[str, str]) -> None:
    url = f"/infer/drawn?image={ids['b']}"
    status, headers, content = slicer.form("POST", url, {"client_id": "me"})
    assert (status, headers.get_content_type()) == (200, "multipart/form-data")
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part
        for part in BytesParser(policy=HTTP.clone(cte_type="8bit")).parsebytes(head + content).iter_parts()
    }
    assert json.loads(parts["params"].get_payload(decode=True))["label_names"]["spleen"] == 3
    assert parts["params"].get_filename() is None
    assert parts["file"].get_filename() == f"{ids['b']}.nii.gz"  # the client stores it under this very name
    status, _, image = slicer.form("POST", f"{url}&output=image", {})
    assert np.array_equal(on_ras(nifti(image)), whole(*GIVEN))
    assert content.count(image) == 1
    assert json.loads(slicer.form("POST", f"{url}&output=json", {})[2])["label_names"]["liver"] == 1
    assert slicer.form("POST", f"/infer/other?image={ids['b']}", {})[0] == 404
    assert slicer.form("POST", "/infer/drawn", {})[0] == 422


# --- what it saves


def test_only_what_changed_gets_a_revision(
    slicer: Slicer, open_server: Served, ids: dict[str, str], folder: Path
) -> None:
    drawn = box_mask(1, 1, 1, 5, 6, 4)
    slicer.label(ids["b"])
    for _ in range(2):  # the second time nothing is new
        status, told = slicer.save(ids["b"], packed(whole(("liver", drawn), *GIVEN[1:]), "LPS"))
        assert status == 200, told
        assert states(open_server, "b") == {
            "liver": ("corrected", 2), "spleen": ("proposed", 1), "aorta": ("proposed", 1),
        }  # fmt: skip
    assert told == {"image": ids["b"], "label": ids["b"], "saved": {}, "emptied": [], "notes": []}
    assert np.array_equal(stored(folder, "b", "liver"), drawn)
    made = open_server.desk.ledger.heads_of("b")["liver"]
    assert (made.reviewer, made.parent, made.added) == ("anna", 1, 12)
    assert slicer.json("GET", "/datastore/?output=all")["objects"][ids["b"]]["labels"].keys() == {"original", "final"}


def test_a_map_that_came_back_as_it_was_changes_nothing(slicer: Slicer, open_server: Served, ids: dict) -> None:
    for case in "bc":
        _, _, content = slicer.ask("GET", f"/datastore/label?label={ids[case]}&tag=final")
        status, told = slicer.save(ids[case], content)
        assert (status, told["saved"], told["emptied"]) == (200, {}, [])
        assert {number for _, number in states(open_server, case).values()} == {1}


def test_segments_in_another_order_are_told_by_their_names(slicer: Slicer, ids: dict, folder: Path) -> None:
    names = ("aorta", "background", "spleen", "liver")
    made = np.zeros(SHAPE, np.uint8)
    moved = box_mask(7, 2, 1, 10, 5, 5)
    for value, mask in ((1, AORTA), (3, moved), (4, LIVER)):
        made[mask != 0] = value
    status, told = slicer.save(ids["b"], packed(made), names)
    assert (status, told["saved"]) == (200, {"spleen": 2})
    assert np.array_equal(stored(folder, "b", "spleen"), moved)
    made[0, 0, 0] = 2
    status, told = slicer.save(ids["b"], packed(made), names)
    assert (status, told["error"]["got"]) == (422, "'background'")
    made[0, 0, 0] = 9
    assert slicer.save(ids["b"], packed(made), names)[0] == 422


def test_without_names_the_numbers_are_the_cohorts(slicer: Slicer, ids: dict, folder: Path) -> None:
    made = whole(*GIVEN, ("tumour", box_mask(2, 2, 2, 3, 3, 3)))
    status, _, content = slicer.form("PUT", f"/datastore/label?image={ids['b']}", {}, packed(made))
    assert (status, json.loads(content)["saved"]) == (200, {"tumour": 1})
    assert stored(folder, "b", "tumour").sum() == 1


def test_a_whole_has_the_voxels_of_its_parts(slicer: Slicer, open_server: Served, ids: dict, folder: Path) -> None:
    inside = box_mask(2, 2, 2, 4, 4, 3)
    status, told = slicer.save(ids["b"], packed(whole(*GIVEN, ("tumour", inside))))
    assert (status, told["saved"]) == (200, {"tumour": 1})  # the liver is what it was
    shown = on_ras(slicer.label(ids["b"]))
    assert np.array_equal(shown, whole(*GIVEN, ("tumour", inside)))  # the part is on top
    beyond = box_mask(2, 2, 2, 4, 6, 3)
    status, told = slicer.save(ids["b"], packed(whole(*GIVEN, ("tumour", beyond))))
    assert (status, told["saved"]) == (200, {"liver": 2, "tumour": 2})
    assert np.array_equal(stored(folder, "b", "liver"), LIVER | beyond)
    status, told = slicer.save(ids["d"], packed(whole(("tumour", inside))))
    assert (status, told["saved"]) == (200, {"tumour": 1})  # nobody drew the liver: a part of it is not all of it
    assert "liver" not in states(open_server, "d")


def test_an_organ_that_became_empty_is_told_and_stays(slicer: Slicer, open_server: Served, ids: dict) -> None:
    status, told = slicer.save(ids["b"], packed(whole(*GIVEN[:2])))
    assert (status, told["saved"], told["emptied"]) == (200, {}, ["aorta"])
    assert told["notes"] == ["aorta has no voxel any more: its mask stays; mark it absent on the page"]
    assert states(open_server, "b")["aorta"] == ("proposed", 1)
    status, told = slicer.save(ids["b"], packed(whole(*GIVEN[:2])), NAMES[:3])  # a segment that is not there at all
    assert (status, told["saved"], told["emptied"]) == (200, {}, [])


def test_two_verified_organs_may_take_voxels_of_each_other(
    slicer: Slicer, open_server: Served, ids: dict, folder: Path
) -> None:
    left, right = box_mask(0, 0, 0, 4, 4, 4), box_mask(4, 0, 0, 8, 4, 4)
    assert slicer.save(ids["d"], packed(whole(("liver", left), ("spleen", right))))[0] == 200
    here, there = box_mask(3, 0, 0, 4, 4, 2), box_mask(4, 0, 2, 5, 4, 4)
    liver, spleen = (left & ~here) | there, (right & ~there) | here
    status, told = slicer.save(ids["d"], packed(whole(("liver", liver), ("spleen", spleen))))
    assert status == 200, told
    assert np.array_equal(stored(folder, "d", "liver"), liver)
    assert np.array_equal(stored(folder, "d", "spleen"), spleen)
    notes = [row.note for organ in NAMES for row in open_server.desk.ledger.history(Pair("d", organ))]
    assert sorted(notes) == ["", "", "", "", labelmap.WAY]  # one gave way first


def test_a_refused_organ_is_told_and_the_others_are_saved(slicer: Slicer, open_server: Served, ids: dict) -> None:
    anna = open_server.reviewer("anna")
    assert anna.decide("b", "spleen", "accept").status_code == 200
    made = whole(
        ("spleen", box_mask(7, 2, 1, 8, 3, 2)), ("liver", LIVER | SPLEEN), ("aorta", box_mask(5, 6, 0, 7, 8, 5))
    )
    status, told = slicer.save(ids["b"], packed(made))
    assert status == 409
    assert "saved: aorta; liver: the mask takes voxels of spleen" in told["error"]["got"]
    assert states(open_server, "b")["aorta"] == ("corrected", 2)


def test_what_somebody_else_decided_meanwhile_is_not_undone(
    slicer: Slicer, open_server: Served, ids: dict, folder: Path
) -> None:
    ben = open_server.reviewer("ben")
    slicer.label(ids["b"])
    bens = box_mask(7, 2, 1, 10, 5, 5)
    assert ben.put("b", "spleen", bens).status_code == 200
    longer = box_mask(5, 6, 0, 7, 9, 6)
    status, told = slicer.save(ids["b"], packed(whole(*GIVEN[:2], ("aorta", longer))))  # the spleen as it was given
    assert (status, told["saved"]) == (200, {"aorta": 2})
    assert np.array_equal(stored(folder, "b", "spleen"), bens)
    mine = box_mask(7, 2, 1, 9, 5, 4)
    status, told = slicer.save(ids["b"], packed(whole(("liver", LIVER), ("spleen", mine), ("aorta", longer))))
    assert (status, "somebody else decided first" in told["error"]["got"]) == (409, True)
    assert np.array_equal(stored(folder, "b", "spleen"), bens)
    assert np.array_equal(ben.mask("b", "spleen", 3), mine)  # kept
    assert np.array_equal(on_ras(slicer.label(ids["b"])) == 3, bens != 0)
    status, told = slicer.save(ids["b"], packed(whole(("liver", LIVER), ("spleen", mine), ("aorta", longer))))
    assert (status, told["saved"]) == (200, {"spleen": 4})


def test_the_same_upload_twice_at_once_is_one_revision(slicer: Slicer, open_server: Served, ids: dict) -> None:
    file, answers = packed(whole(("liver", box_mask(1, 1, 1, 5, 6, 4)), *GIVEN[1:])), []
    threads = [threading.Thread(target=lambda: answers.append(slicer.save(ids["b"], file))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 4
    assert states(open_server, "b")["liver"] == ("corrected", 2)


# --- what is refused


@pytest.mark.parametrize("token", ["", "x", "%C3%A9", "..", "a" * 22, "a" * 3000])
def test_a_wrong_token(open_server: Served, token: str) -> None:
    base = open_server.slicer["anna"].split("/label/")[0]
    stranger = Slicer(f"{base}/label/{token}")
    for method, path in (("GET", "/info/"), ("PUT", "/datastore/label?image=x"), ("GET", "/datastore/image?image=x")):
        status, headers, content = stranger.ask(method, path)
        assert status == 401
        assert json.loads(content)["error"]["what"] == "nobody is signed in"
        assert headers["x-content-type-options"] == "nosniff"


def test_it_is_off_unless_asked_for(served: Served) -> None:
    assert served.slicer == {}
    token = served.urls["anna"].split("token=")[1]
    base = served.urls["anna"].split("/?")[0]
    assert Slicer(f"{base}/label/{token}").ask("GET", "/info/")[0] == 401
    assert served.reviewer("anna").http.get(f"/label/{token}/info/").status_code == 404


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
@pytest.mark.parametrize("value", ["null", "same-origin", "none", ""])
def test_no_browser_comes_this_way(slicer: Slicer, open_server: Served, ids: dict, header: str, value: str) -> None:
    for method, path in (("GET", "/info/"), ("PUT", f"/datastore/label?image={ids['b']}")):
        status, _, content = slicer.ask(method, path, headers={header: value})
        assert (status, "browser" in json.loads(content)["error"]["what"]) == (403, True)
    assert slicer.ask("GET", "/info/", headers={"Host": "evil.example"})[0] == 403
    cookie = "; ".join(f"{k}={v}" for k, v in open_server.reviewer("anna").http.cookies.items())
    base = open_server.slicer["anna"].split("/label/")[0]
    assert Slicer(f"{base}/label/wrong").ask("GET", "/info/", headers={"Cookie": cookie})[0] == 401


@pytest.mark.parametrize(
    "case", ["0" * 16, "b", "..", "../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "ct/b.nii.gz", "%00", "/etc/passwd", ""]
)
def test_no_id_leads_anywhere(slicer: Slicer, folder: Path, case: str) -> None:
    before = cells(folder)
    name = quote_plus(case)
    for method, path in (
        *(("GET", f"/datastore/image?image={name}"), ("HEAD", f"/datastore/image?image={name}")),
        *(("GET", f"/datastore/label?label={name}&tag=final"), ("GET", f"/datastore/image?image={case}")),
    ):
        status, _, content = slicer.ask(method, path)
        assert status == 404
        assert method == "HEAD" or json.loads(content)["error"]["what"] == "no such case"
    assert slicer.form("POST", f"/infer/drawn?image={name}", {})[0] == 404
    assert slicer.save(case, packed(whole(*GIVEN)))[0] == 404
    assert cells(folder) == before


def test_the_name_of_the_file_is_never_used(slicer: Slicer, ids: dict, folder: Path, tmp_path: Path) -> None:
    def files() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if path.is_file() and "review" not in path.parts}

    before = files() | {folder / "cases.csv", folder / ".lock"}
    for n, name in enumerate(("../../x", "/tmp/../x.sh", 'x"; name="params', "\x00", "é" * 300)):
        made = whole(("liver", box_mask(1, 1, 1, 5, 5, 4) if n % 2 else box_mask(1, 1, 1, 5, 6, 4)), *GIVEN[1:])
        status, told = slicer.save(ids["b"], packed(made), name=name)
        assert (status, told["saved"]) == (200, {"liver": n + 2})
    assert files() <= before
    names = {path.name for path in (folder / "review").iterdir()}
    assert not [name for name in names if name.startswith("label-")]


def moved(mm: float) -> np.ndarray:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[0, 3] = mm
    return affine


def test_another_grid_is_refused(slicer: Slicer, open_server: Served, ids: dict) -> None:
    right = whole(("liver", box_mask(1, 1, 1, 5, 6, 4)), *GIVEN[1:])
    for file in (
        packed(right, affine=moved(0.5)),
        packed(right[:-1]),
        packed(right, affine=np.diag([2.0, 2.0, 2.0, 1.0])),
        packed(np.zeros((400, 400, 400), np.uint8)),
    ):
        status, told = slicer.save(ids["b"], file)
        assert (status, told["error"]["what"]) == (422, "the label map does not lie on the CT's grid")
        assert "reference volume" in told["error"]["do"]
    assert states(open_server, "b")["liver"] == ("proposed", 1)
    assert slicer.save(ids["b"], packed(right, affine=moved(1e-4)))[0] == 200  # rounding


def test_a_malformed_upload_is_refused(slicer: Slicer, open_server: Served, ids: dict) -> None:
    good = packed(whole(("liver", box_mask(1, 1, 1, 5, 6, 4)), *GIVEN[1:]))
    url = f"/datastore/label?image={ids['b']}"
    floats = packed(np.full(SHAPE, 0.5, np.float32))
    bomb = gzip.compress(gzip.decompress(good) + b"\0" * (100 << 20))
    for file in (b"", b"no file", good[:-9], good[:40], floats, packed(np.full(SHAPE, -1, np.int16)), bomb):
        status, told = slicer.save(ids["b"], file)
        assert (status, str(open_server.folder) in json.dumps(told)) == (422, False)
    for params in (b"{", b"[]", b'{"label_info": 3}', b'{"label_info": [3]}', b"[" * 20000, b"\xff", b" " * (1 << 17)):
        assert slicer.form("PUT", url, params, good)[0] == (200 if params == b"[]" else 422)
    assert slicer.form("PUT", url, {})[0] == 422  # no file
    assert slicer.form("PUT", f"{url}&tag=original", {}, good)[0] == 422
    assert slicer.form("PUT", f"{url}&tag=..", {}, good)[0] == 422
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=label\r\n\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="label"\r\n\r\nabc'),
    ):
        status, _, content = slicer.ask("PUT", url, body, {"content-type": kind})
        assert (status, set(json.loads(content))) == (422, {"error"})


def test_bodies_have_their_limits(slicer: Slicer, ids: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_VOXEL_BYTES", 1 << 18)
    for size, path, status in (
        (1 << 17, f"/datastore/label?image={ids['b']}", 422),
        (1 << 19, f"/datastore/label?image={ids['b']}", 413),
    ):
        assert slicer.form("PUT", path, {}, b"x" * size)[0] == status


# --- maps by themselves


def test_overlapping_organs_keep_what_lies_below() -> None:
    """Of two organs that may overlap the first lies on top; what is not touched below stays."""
    organs = OrganSet((Organ("vein", overlaps=frozenset({"liver"})), Organ("liver"), Organ("spleen")))
    vein, liver, spleen = box_mask(3, 3, 1, 7, 4, 2), box_mask(1, 1, 1, 5, 5, 4), box_mask(4, 1, 1, 8, 5, 4)
    masks = {organ: kept.Mask.of(mask, SHAPE) for organ, mask in (("vein", vein), ("liver", liver), ("spleen", spleen))}
    given = labelmap.drawn_map(organs, masks, SHAPE)
    assert set(given[(vein != 0)]) == {1}
    assert set(given[(liver & spleen & ~vein) != 0]) == {2}
    same = labelmap.differences(organs, masks, given.copy(), organs.keys)
    assert (same.changed, same.emptied) == ({}, ())
    drawn = given.copy()
    drawn[1, 1, 1] = 0
    made = labelmap.differences(organs, masks, drawn, organs.keys)
    assert list(made.changed) == ["liver"]
    expected = liver.copy()
    expected[1, 1, 1] = 0
    assert np.array_equal(made.changed["liver"].array, expected)  # with what lies below the vein
    drawn[7, 4, 3] = 0
    made = labelmap.differences(organs, masks, drawn, organs.keys)
    assert list(made.changed) == ["liver", "spleen"]
    assert not (made.changed["spleen"].array & made.changed["liver"].array).any()  # what nobody saw is not taken


def test_the_command_tells_of_it() -> None:
    help_text = CliRunner().invoke(app, ["review", "--help"], env={"COLUMNS": "200"}).output
    assert "--monailabel" in help_text
    assert "3D Slicer" in help_text
