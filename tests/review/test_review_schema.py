"""Every operation of the OpenAPI document, fed with what schemathesis makes of it: no 5xx, and no file elsewhere."""

import gzip
import hashlib
import os
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from reviewing import SHAPE, Reviewer, serving

from smiler.review.server import monailabel

EXAMPLES = 20
"""For each operation; half of them break the document's rules."""
QUIET = settings(
    max_examples=EXAMPLES // 2, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Paths that the server's threads opened for writing, moved, made or removed. An audit hook can't be taken away."""

    def __init__(self) -> None:
        self.on, self.paths = False, set[str]()
        sys.addaudithook(self._see)

    def _see(self, event: str, told: tuple[Any, ...]) -> None:
        if not self.on or event not in WRITES or threading.current_thread() is threading.main_thread():
            return
        if event == "open" and not int(told[2] or 0) & CHANGING:
            return
        self.paths |= {
            os.fsdecode(part) for part in told if isinstance(part, str | bytes) and os.sep in os.fsdecode(part)
        }


@pytest.fixture(scope="session")
def schemathesis() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]'")


@pytest.fixture(scope="session")
def watch() -> Watch:
    return Watch()


@contextmanager
def watching(watch: Watch) -> Iterator[set[str]]:
    watch.paths, watch.on = set(), True
    try:
        yield watch.paths
    finally:
        watch.on = False


def contents(folder: Path, *parts: str) -> Mapping[Path, str]:
    """The hash of every file in these folders."""
    found = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def slicers_document(token: str) -> dict[str, Any]:
    """What is not in the server's own document: 3D Slicer's way."""
    router = APIRouter()
    for route in monailabel.router.routes:
        router.add_api_route(route.path, route.endpoint, methods=list(route.methods))
    app = FastAPI()
    app.include_router(router)
    document = app.openapi()
    document["paths"] = {path.replace("{token}", token): told for path, told in document["paths"].items()}
    return document


def well_formed(case: Any, anna: Reviewer, choice: int) -> dict[str, str]:
    """Put what the document can't know into a request, each with a chance of one half; headers to send beside."""
    if choice & 1:
        opaque = anna.ids["bcd"[choice % 3]]
        told = dict.fromkeys(("case", "image", "label"), opaque) | {"model": "drawn", "strategy": "queue"}
        told["organ"] = ("liver", "tumour", "spleen")[choice % 3]
        case.path_parameters = {name: told.get(name, value) for name, value in (case.path_parameters or {}).items()}
        case.query = {name: told.get(name, value) for name, value in (case.query or {}).items()}
    if choice & 4 and case.media_type == "application/octet-stream":
        voxels = np.random.default_rng(choice).integers(0, 2, SHAPE).astype(np.uint8)
        case.body = gzip.compress(voxels.tobytes())
        case.query = {name: value for name, value in (case.query or {}).items() if name != "box"}
    return anna.headers(choice >> 3 & 1, uuid.uuid4().hex) if choice & 2 else {}


@pytest.mark.parametrize("way", ["page", "slicer"])
def test_nothing_that_fits_the_document_or_breaks_it_is_too_much(
    schemathesis: Any, watch: Watch, folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, seen = contents(folder, "ct", "labels", "completed"), dict[str, set[int]]()
    with serving(folder, monailabel=True) as served, watching(watch) as paths, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anna = served.reviewer("anna")
        cookie = "; ".join(f"{name}={value}" for name, value in anna.http.cookies.items())
        page = {"cookie": cookie, "origin": anna.base, "x-xsrf-token": anna.session["xsrf"]}
        document = anna.http.get("/api/openapi.json").json()
        if way == "slicer":
            page, document = {}, slicers_document(served.slicer["anna"].rstrip("/").rsplit("/", 1)[1])

        def try_out(operation: Any, mode: Any) -> None:
            @QUIET
            @given(case=operation.as_strategy(generation_mode=mode), choice=st.integers(0, 15))
            def once(case: Any, choice: int) -> None:
                headers = {**page, **well_formed(case, anna, choice)}
                answer = case.call(base_url=anna.base, headers=headers, timeout=30)
                seen.setdefault(operation.label, set()).add(answer.status_code)
                assert answer.status_code < 500, (operation.label, answer.status_code, answer.text)
                if answer.status_code >= 400 and case.method != "HEAD":
                    fault = answer.json()  # 412 says more
                    assert fault["error"]["what"]

            with suppress(Unsatisfiable):  # an operation that takes nothing has no rules to break
                once()

        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            for mode in schemathesis.GenerationMode:
                try_out(found.ok(), mode)
    assert len(seen) == sum(len(methods) for methods in document["paths"].values())
    assert {200, 404, 422} <= set().union(*seen.values())
    assert {path for path in paths if not Path(path).resolve().is_relative_to(folder.resolve())} == set()
    assert contents(folder, "ct", "labels", "completed") == before
