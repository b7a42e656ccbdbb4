"""Who is let in, and what nobody gets through: foreign hosts and pages, wrong tokens, paths, sizes, bombs."""

import gzip
import re
import resource
import shutil
import socket
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from reviewing import LIVER, SHAPE, Reviewer, Served, box_mask, cells, serving
from starlette.datastructures import Headers

from smiler.domain.errors import BadInput
from smiler.review.desk import at_desk
from smiler.review.errors import Refused
from smiler.review.server import limits
from smiler.review.server.guard import Access
from smiler.review.server.run import ServeOptions, _names, bind, public_host


def error(answer: httpx.Response) -> str:
    assert set(answer.json()["error"]) == {"what", "where", "got", "do"}
    return str(answer.json()["error"]["what"])


def raw(served: Served, request: bytes) -> bytes:
    """What the server answers to these very bytes."""
    address = urlsplit(served.urls["anna"])
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def cookie_name(served: Served) -> str:
    return f"smiler_review_{served.port}"


def cookie_header(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


# --- signing in


def test_nobody_sees_anything_without_a_cookie(served: Served) -> None:
    base = served.urls["anna"].split("/?")[0]
    with httpx.Client(base_url=base) as nobody:
        for path in ("/api/session", "/api/queue", "/api/openapi.json", "/api/nothing"):
            assert (nobody.get(path).status_code, error(nobody.get(path))) == (401, "nobody is signed in")
        page = nobody.get("/")
        assert (page.status_code, "open the address that smiler review printed" in page.text) == (401, True)
        for token in ("", "x", "é", "a" * 5000, served.urls["anna"][-22:-1]):
            answer = nobody.get("/", params={"token": token})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        assert nobody.get("/api/session", headers={"cookie": f"{cookie_name(served)}=guess"}).status_code == 401


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(served: Served) -> None:
    answer = httpx.get(served.urls["anna"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(cookie_name(served) + r"=\d+\.[0-9a-f]{64}; HttpOnly; Path=/; SameSite=strict", cookie)
    token = served.urls["anna"].split("token=")[1]
    assert len(token) == 22  # 128 bits
    assert token not in cookie


def test_every_answer_carries_the_policy(anna: Reviewer) -> None:
    for path in ("/", "/api/session", "/api/queue?limit=0", "/nowhere", f"/api/cases/{anna.ids['b']}/image"):
        headers = anna.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "access-control-allow-origin" not in headers
    assert anna.http.get("/api/session").headers["cache-control"] == "no-store"


def test_an_open_page_outlives_a_restart_of_the_server(folder: Path) -> None:
    with serving(folder) as first:
        anna = first.reviewer("anna")
        cookies, xsrf, address = dict(anna.http.cookies), anna.session["xsrf"], anna.base
    with serving(folder) as second:
        assert second.urls["anna"].startswith(address)  # the same port
        assert second.urls["anna"] != first.urls["anna"]  # a new token
        again = second.reviewer("anna")
        again.http.cookies = httpx.Cookies(cookies)
        again.http.headers["x-xsrf-token"] = xsrf
        assert again.decide("b", "liver", "accept", 1).status_code == 200
        assert again.history("b", "liver")[-1]["reviewer"] == "anna"
    with serving(folder, ("ben",)) as third, httpx.Client(base_url=third.urls["ben"].split("/?")[0]) as nobody:
        assert nobody.get("/api/session", headers=cookie_header(cookies)).status_code == 401  # no reviewer any more


def test_who_is_signed_in_can_not_be_made_up_and_ends() -> None:
    now = [1e9]
    access = replace(Access.fresh(["anna", "ben"], [], b"secret", 1), clock=lambda: now[0])
    cookie = access.sign_in(access.tokens["anna"]) or ""
    until, signature = cookie.split(".")

    def who(value: str, at: Access = access) -> str | None:
        session = at.session(Headers({"cookie": f"{access.cookie}={value}"}))
        return session.reviewer if session else None

    assert who(cookie) == "anna"
    longer = f"{int(until) + 1}.{signature}"
    for wrong in (
        longer,
        f"{until}.",
        signature,
        f"{until}.{signature[:-1]}",
        f"-{cookie}",
        "9" * 400 + ".x",
        "²." + signature,
    ):
        assert who(wrong) is None, wrong
    assert who(cookie, replace(access, secret=b"another")) is None
    now[0] = float(until) + 1
    assert who(cookie) is None


def test_two_reviews_on_one_machine_do_not_sign_each_other_out(folder: Path, made: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(made, tmp_path / "other"))
    with serving(folder) as one, serving(other) as two, httpx.Client() as browser:
        for url in (one.urls["anna"], two.urls["anna"]):
            assert browser.get(url).status_code == 303
        for url in (one.urls["anna"], two.urls["anna"]):
            assert browser.get(url.split("/?")[0] + "/api/session").status_code == 200


def test_the_address_that_is_printed_for_everywhere_answers(folder: Path) -> None:
    with at_desk(folder, print) as desk:
        bound = bind(desk, ServeOptions(host="0.0.0.0"))
        bound.listener.close()
        (url,) = bound.urls.values()
        assert urlsplit(url).hostname != "0.0.0.0"
        assert urlsplit(url).netloc in _names("0.0.0.0", urlsplit(url).port or 0)


def test_a_proxys_address_is_answered_and_printed(folder: Path) -> None:
    public = "https://review.example.org"
    with serving(folder, public_url=public + "/") as served:
        (_, token) = served.urls["anna"].split(f"{public}/?token=")
        headers = {"host": "review.example.org", "origin": public}
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", headers=headers) as anna:
            answer = anna.get("/", params={"token": token})
            assert (answer.status_code, "; Secure" in answer.headers["set-cookie"]) == (303, True)
            anna.headers["cookie"] = answer.headers["set-cookie"].split(";")[0]  # over plain HTTP only the proxy may
            xsrf = anna.get("/api/session").json()["xsrf"]
            case = anna.get("/api/queue").json()["items"][0]["case"]
            assert anna.get(f"/api/cases/{case}/image").headers["content-encoding"] == "gzip"
            more = {"x-xsrf-token": xsrf, "if-match": '"0"', "idempotency-key": "a-first-key"}
            answer = anna.post(f"/api/cases/{case}/decisions/tumour", json={"decision": "absent"}, headers=more)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "url", ["review.example.org", "ftp://x", "https://x/path", "https://x?a=1", "https://", "http://a@b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="not an address"):
        public_host(url)


# --- where a request comes from


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", "", "[::1"])
def test_another_host_is_refused(served: Served, anna: Reviewer, host: str) -> None:
    answer = anna.http.get("/api/session", headers={"host": host})
    assert (answer.status_code, error(answer)) == (403, "the server is not known under this name")
    assert anna.http.get("/", params={"token": served.urls["anna"][-22:]}, headers={"host": host}).status_code == 403


def test_two_hosts_or_none_are_refused(served: Served) -> None:
    for hosts in (b"", b"Host: evil.example\r\nHost: 127.0.0.1\r\n"):
        status = raw(served, b"GET /api/session HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n").split()[1]
        assert status in (b"400", b"403")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://", "", "http://[", "x" * 500],
)
def test_a_write_from_another_page_is_refused(anna: Reviewer, folder: Path, origin: str) -> None:
    before = cells(folder)
    anna.http.headers["origin"] = origin
    answer = anna.decide("b", "liver", "accept", 1)
    assert (answer.status_code, error(answer)) == (403, "the request comes from another page")
    assert cells(folder) == before


def test_a_write_without_an_origin_needs_the_browsers_word(anna: Reviewer) -> None:
    del anna.http.headers["origin"]
    assert anna.decide("b", "liver", "accept", 1).status_code == 403
    for site, status in (("cross-site", 403), ("none", 403), ("same-origin", 200)):
        anna.http.headers["sec-fetch-site"] = site
        assert anna.decide("b", "liver", "accept", 1).status_code == status


@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_a_write_without_the_pages_token_is_refused(anna: Reviewer, ben: Reviewer, token: str | None) -> None:
    anna.http.headers.encoding = "latin-1"  # as a browser sends it
    for wrong in (token, ben.session["xsrf"]):
        anna.http.headers.pop("x-xsrf-token", None)
        if wrong is not None:
            anna.http.headers["x-xsrf-token"] = wrong
        answer = anna.decide("b", "liver", "accept", 1)
        assert (answer.status_code, error(answer)) == (403, "the token of the page is missing or wrong")


def test_names_of_the_server() -> None:
    assert _names("127.0.0.1", 8) == {"127.0.0.1:8", "localhost:8", "[::1]:8"}
    assert "10.0.0.7:8" in _names("10.0.0.7", 8)
    assert not any("*" in name or "0.0.0.0" in name for name in _names("0.0.0.0", 8))


# --- ids and paths


@pytest.mark.parametrize(
    "case",
    ["..", "../../etc/passwd", "%2e%2e%2f%2e%2e", "b", "0" * 16, "a/../b", "%00", "ct/b.nii.gz", "0" * 15 + "G", "é"],
)
def test_no_id_leads_anywhere(anna: Reviewer, served: Served, case: str) -> None:
    """Sent as it stands: a client would take `..` out of the path itself."""
    cookie, host = cookie_header(dict(anna.http.cookies))["cookie"], urlsplit(anna.base).netloc
    for path in (case, f"{case}/image", f"{case}/masks/liver", f"{anna.ids['b']}/masks/{case}"):
        request = f"GET /api/cases/{path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
        answered = raw(served, request.encode("latin-1") + b"Connection: close\r\n\r\n")
        assert answered.split()[1] in (b"400", b"404", b"422")


def test_the_pages_files_are_those_of_the_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>the page")
    (page / "assets/main.js").write_text("let it = 1;")
    (tmp_path / "secret").write_text("secret")
    with serving(folder, page=page) as running:
        anna = running.reviewer()
        assert "the page" in anna.http.get("/").text
        script = anna.http.get("/assets/main.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for path in ("/../secret", "/%2e%2e/secret", "/assets/..%2f..%2fsecret", "/assets", "//etc/passwd"):
            assert anna.http.get(path).status_code == 404
            assert "secret" not in anna.http.get(path).text
        with httpx.Client(base_url=anna.base) as nobody:
            assert nobody.get("/assets/main.js").status_code == 401


def test_a_page_that_is_not_built_says_so(folder: Path, tmp_path: Path) -> None:
    with serving(folder, page=tmp_path / "nothing") as running:
        answer = running.reviewer().http.get("/")
        assert (answer.status_code, "make page" in answer.text) == (503, True)


# --- bodies


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "the voxels do not fill the box"),
        (b"not gzip", "the body is not gzip"),
        (gzip.compress(b"\0" * 719), "the voxels do not fill the box"),
        (gzip.compress(b"\0" * 721), "the voxels do not fill the box"),
        (gzip.compress(b"\0" * 720)[:-9], "the voxels do not fill the box"),
        (gzip.compress(b"\0" * 720) + b"more", "the voxels do not fill the box"),
        (gzip.compress(b"\2" * 720), "voxels are 0 or 1"),
        (gzip.compress(b"\xff" + b"\0" * 719), "voxels are 0 or 1"),
        (zlib.compress(b"\0" * 720), "the body is not gzip"),
    ],
    ids=["nothing", "no-gzip", "too-few", "too-many", "cut-off", "more-behind", "all-2", "one-255", "zlib"],
)
def test_a_mask_of_another_size_or_kind_is_refused(anna: Reviewer, folder: Path, body: bytes, what: str) -> None:
    before = cells(folder)
    url = f"/api/cases/{anna.ids['b']}"
    for answer in (
        anna.http.put(f"{url}/masks/liver", content=body, headers=anna.headers(1)),
        anna.http.put(f"{url}/drafts/liver", content=body, headers={"if-match": '"1"'}),
        anna.http.post(f"{url}/tools/fill", content=body),
    ):
        assert (answer.status_code, error(answer)) == (422, what)
    assert cells(folder) == before
    assert len(anna.history("b", "liver")) == 1


def test_an_empty_mask_is_not_knowledge(anna: Reviewer) -> None:
    answer = anna.put("b", "liver", LIVER * 0)
    assert (answer.status_code, error(answer)) == (409, "the mask has no voxel")
    assert "mark it absent" in answer.json()["error"]["do"]
    assert anna.decide("d", "liver", "accept").status_code == 409
    assert anna.put("b", "liver", LIVER * 0, 7).status_code == 422  # not even as a stale one
    assert [row["state"] for row in anna.history("b", "liver")] == ["proposed"]


def test_a_gzip_bomb_is_not_unpacked(anna: Reviewer) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = anna.put("b", "liver", LIVER, 1, body=bomb)
    assert (answer.status_code, error(answer)) == (422, "the voxels do not fill the box")
    assert answer.json()["error"]["got"] == "more than 720 voxels, expected 720"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_large_bodies_are_unpacked_to_the_byte(more: int) -> None:
    """Of zeros, of voxels (at level 9 a gzip of them takes seconds), and of bytes: the body itself is large then."""
    size = (2 << 20) + more
    rng = np.random.default_rng(0)
    for most, levels in ((1, (1, 9)), (2, (1, 6)), (256, (1,))):
        voxels = rng.integers(0, most, size).astype(np.uint8)
        for level in levels:
            body = gzip.compress(voxels.tobytes(), level)
            assert np.array_equal(limits._inflate(body, size), voxels)
            with pytest.raises(Refused, match="do not fill the box"):
                limits._inflate(body + b"x" * (2 << 20), size)


def endless(pieces: int) -> Iterator[bytes]:
    for _ in range(pieces):
        yield b"x" * (1 << 16)


def test_a_body_over_the_limit_is_cut_off(anna: Reviewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_VOXEL_BYTES", 1 << 18)
    url = f"/api/cases/{anna.ids['b']}"
    for content in (b"x" * (1 << 19), endless(64)):
        try:
            answer = anna.http.put(f"{url}/masks/liver", content=content, headers=anna.headers(1))
        except httpx.TransportError:
            continue  # the server hung up in the middle of the body
        assert (answer.status_code, error(answer)) == (413, "the body is longer than 262144 bytes")
    assert len(anna.history("b", "liver")) == 1
    long: Any = {"decision": "flag", "note": "n" * (80 << 10)}
    answer = anna.http.post(f"{url}/decisions/liver", json=long, headers=anna.headers(1))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-match": '"1"'}, 422),
        ({"if-match": '"1"', "idempotency-key": "short"}, 422),
        ({"if-match": '"1"', "idempotency-key": "../../../etc"}, 422),
        ({"if-match": '"1"', "idempotency-key": "x" * 65}, 422),
        ({"idempotency-key": "long-enough"}, 428),
        ({"if-match": "1", "idempotency-key": "long-enough"}, 422),
        ({"if-match": '"-1"', "idempotency-key": "long-enough"}, 422),
        ({"if-match": "*", "idempotency-key": "long-enough"}, 422),
        ({"if-match": '"99999999999999999999"', "idempotency-key": "long-enough"}, 422),
    ],
)
def test_a_write_says_what_it_is_based_on_and_has_a_key(anna: Reviewer, headers: dict[str, str], status: int) -> None:
    url = f"/api/cases/{anna.ids['b']}/decisions/liver"
    answer = anna.http.post(url, json={"decision": "accept"}, headers=headers)
    assert answer.status_code == status
    error(answer)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '{"decision": "eat"}',
        '{"decision": "accept", "reviewer": "ben"}',
        '{"decision": "accept", "note": "\\ud800"}',
        '{"decision": "accept", "active_seconds": NaN}',
        '{"decision": "accept", "active_seconds": -1}',
        '{"decision": "accept", "active_seconds": 1e300}',
        "[" * 20000,
    ],
)
def test_a_malformed_decision_is_refused(anna: Reviewer, body: str) -> None:
    url = f"/api/cases/{anna.ids['b']}/decisions/liver"
    headers = {**anna.headers(1), "content-type": "application/json"}
    answer = anna.http.post(url, content=body.encode(), headers=headers)
    assert answer.status_code in (400, 422)
    error(answer)
    assert len(anna.history("b", "liver")) == 1


def test_a_form_of_another_page_can_not_decide(anna: Reviewer) -> None:
    """Without the headers that only our own page can set, whatever the kind of body."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        with httpx.Client(base_url=anna.base, cookies=anna.http.cookies) as form:
            url = f"/api/cases/{anna.ids['b']}/decisions/liver"
            assert form.post(url, content=b'{"decision":"accept"}', headers={"content-type": kind}).status_code == 403
    assert len(anna.history("b", "liver")) == 1


def test_unknown_routes_and_methods(anna: Reviewer) -> None:
    assert anna.http.get("/api/nothing").status_code == 404
    assert anna.http.request("DELETE", "/api/session").status_code == 405
    assert anna.http.request("TRACE", "/api/session").status_code == 405
    assert anna.http.head("/api/session").status_code in (200, 405)
    assert anna.http.options("/api/session").status_code == 405


def test_random_voxels_survive_the_wire(anna: Reviewer) -> None:
    voxels = np.random.default_rng(1).integers(0, 2, SHAPE).astype(np.uint8)
    assert anna.put("d", "liver", np.asfortranarray(voxels)).status_code == 200
    assert np.array_equal(anna.mask("d", "liver"), voxels)
    assert not np.array_equal(voxels, box_mask(0, 0, 0, 1, 1, 1))
