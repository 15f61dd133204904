"""Ids that are paths, forms that are traps, URLs in every field, ranges without end (trap 13; S06, S10, S15, S20)."""

import hashlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.test_guards import all_routes
from tests.service.conftest import wav

CANARY = "canary-content-that-must-stay-outside"
IDS = [
    "../canary.txt", "..%2fcanary.txt", "%2e%2e/canary.txt", "%2e%2e%2fcanary.txt", "..\\canary.txt", "..%5ccanary.txt",
    "....//canary.txt", "..;/canary.txt", "/etc/passwd", "%2fetc%2fpasswd", "a%00b", "%00", "x" * 300, "CON", "nul.wav",
    "．．／canary", "~root", "name.", "name ", ".hidden", "-flag", "a/b", "a%2fb", "planted", "..", ".", "*", "?", "%", "%zz",
    "a%09b", "${HOME}", "{{7*7}}", "' OR 1=1 --", "<script>", "\u202egnp", "file:///etc/passwd", "http://127.0.0.1/",
]  # fmt: skip


def tree(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if "data" not in path.relative_to(root).parts:
            digest.update(str(path).encode())
            digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def test_s10_no_id_leads_out_of_the_data_folder(client: TestClient, tmp_path: Path, promise: Any):
    """F6 of the first server: a prompt id of ../../escaped wrote a file there."""
    (tmp_path / "canary.txt").write_text(CANARY)
    planted = client.app.state.service.folder.root / "prompts" / "planted"
    planted.symlink_to(tmp_path)
    before = tree(tmp_path)
    routes = sorted({path for _, path in all_routes(client.app) if "some-id" in path and not path.startswith("/v1")})
    tried = 0
    for path in routes:
        for hostile in IDS:
            for method in ("GET", "DELETE", ("PUT", "POST")[tried % 4 // 2]):
                answer = client.request(method, path.replace("some-id", hostile), content=b"{}")
                assert answer.status_code < 500, (method, path, hostile, answer.text)
                assert CANARY not in answer.text
                tried += 1
    for hostile in IDS:
        files = {"audio_file": (hostile, b"RIFF")}
        assert 400 <= client.post("/audio_prompts/upload", data={"prompt_id": hostile}, files=files).status_code < 500
        assert 400 <= client.post("/voice_mappings", json={"voice_id": hostile}).status_code < 500 or hostile in (
            "planted",
        )
    assert tree(tmp_path) == before
    promise(
        "S10",
        f"{tried} requests with {len(IDS)} hostile ids on {len(routes)} paths: no 5xx, nothing outside read or written",
    )


def _multipart(*parts: bytes, boundary: bytes = b"B") -> tuple[bytes, dict[str, str]]:
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--\r\n"
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}


def _field(name: bytes, value: bytes, extra: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + extra + b"\r\n\r\n" + value


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves a cut file open
def test_s06_forms_that_are_traps_get_4xx_and_leave_nothing(client: TestClient, tmp_path: Path, promise: Any):
    sound = _field(b"audio_file", wav(1.0), b'; filename="a.wav"')
    prompt = _field(b"prompt_id", b"p")
    nasty = {
        "1001 parts": _multipart(*[_field(b"f%d" % n, b"x") for n in range(1001)]),
        "a name of 1 MB": _multipart(_field(b"n" * 1_000_000, b"x")),
        "a field of 1 MB": _multipart(_field(b"prompt_id", b"x" * 1_000_000), sound),
        "no boundary": (b"--B\r\n", {"Content-Type": "multipart/form-data"}),
        "another boundary": _multipart(prompt, sound, boundary=b"C"),
        "a name twice": _multipart(prompt, prompt, sound),
        "no file": _multipart(prompt),
        "a file as text": _multipart(prompt, _field(b"audio_file", b"RIFF")),
        "an id as file": _multipart(_field(b"prompt_id", b"p", b'; filename="p"'), sound),
        "three files": _multipart(prompt, sound, *[_field(b"g%d" % n, b"x", b'; filename="x"') for n in range(3)]),
        "JSON": (b'{"prompt_id": "p"}', {"Content-Type": "application/json"}),
        "no form": (b"RIFF", {"Content-Type": "audio/wav"}),
        "cut off": (_multipart(prompt, sound)[0][:-400], {"Content-Type": "multipart/form-data; boundary=B"}),
        "NUL in the id": _multipart(_field(b"prompt_id", b"p\0"), sound),
    }  # fmt: skip
    before = tree(tmp_path)
    for name, (body, headers) in nasty.items():
        answer = client.post("/audio_prompts/upload", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text)
    assert client.get("/audio_prompts").json() == {}
    fine = _multipart(prompt, _field(b"audio_file", wav(1.0), b'; filename="../../\xc3\xa9/x.wav"'))
    assert client.post("/audio_prompts/upload", content=fine[0], headers=fine[1]).status_code == 200
    assert tree(tmp_path) == before
    promise("S06", f"{len(nasty)} broken or greedy forms: 4xx each, nothing stored")


def test_s15_no_address_in_any_field_is_ever_fetched(client: TestClient, promise: Any):
    hits = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.3)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    hits.append(listener.accept())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.wav"
        fields = ("text", "voice", "model", "response_format", "role", "instructions", "params", "audio_prompt", "url")
        for field in fields:
            client.post("/generate", json={"text": "Hi.", field: url})
        client.post(
            "/voice_mappings", json={"voice_id": "v", "audio_prompt": url, "speakers": {"S1": {"prompt": url}}}
        )
        for data in (url.encode(), f"#EXTM3U\n{url}\n".encode(), f"ffconcat version 1.0\nfile {url}\n".encode()):
            client.post("/audio_prompts/upload", data={"prompt_id": "p"}, files={"audio_file": ("a.wav", data)})
        client.post("/tts", json={"text": "Hi.", "reference_audio_filename": url})
        client.get("/tts_stream/", params={"text": "Hi.", "speaker_wav": url})
        done.set()
        thread.join()
    assert hits == []
    promise("S15", "addresses in every text field and in uploads: 0 connections")


@pytest.mark.parametrize(
    ("header", "status"),
    [("bytes=0-0", 206), ("bytes=-4", 206), ("bytes=9-", 206), ("bytes=5-2", 400), ("bytes=999999999-", 416), ("bytes=a-b", 400),
     ("lines=1-2", 400), ("bytes=" + ",".join(f"{n}-{n}" for n in range(10_000)), (200, 206, 400, 416)),
     ("bytes=" + ",".join("0-" for _ in range(10_000)), (200, 206, 400, 416))],
    ids=["first", "last", "rest", "inverted", "past the end", "words", "lines", "10000 apart", "10000 the same"],
)  # fmt: skip
def test_s20_any_range_is_answered_quickly(client: TestClient, header: str, status: Any):
    """Trap 13: ranges cost quadratic time in older versions of the framework."""
    job = client.post("/generate?async_mode=true", json={"text": "Hello there."}).json()["job_id"]
    client.app.state.service.jobs.wait(job, 10)
    whole = client.get(f"/jobs/{job}/result").content
    began = time.perf_counter()
    answer = client.get(f"/jobs/{job}/result", headers={"Range": header})
    assert time.perf_counter() - began < 1.0
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.status_code
    if answer.status_code == 206 and "multipart" not in answer.headers["content-type"]:
        start = int(answer.headers["content-range"].split(" ")[1].split("-")[0])
        assert whole[start : start + len(answer.content)] == answer.content


def test_two_lengths_or_a_length_and_chunks_are_400(live: Any):
    for framing in (b"Content-Length: 2\r\nContent-Length: 20", b"Content-Length: 2\r\nTransfer-Encoding: chunked"):
        with live.socket() as connection:
            connection.sendall(
                b"POST /generate HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n{}GET / HTTP/1.1\r\n\r\n"
            )
            assert b" 400 " in connection.recv(4096).split(b"\r\n")[0]


def test_s22_floors_of_dependencies_with_known_holes():
    from importlib.metadata import version

    floors = {"starlette": (1, 5, 1), "python-multipart": (0, 0, 26), "torch": (2, 10), "h11": (0, 16)}
    for name, floor in floors.items():
        found = tuple(int(part) for part in version(name).split("+")[0].split(".")[:3])
        assert found >= floor, f"{name} {found}"
