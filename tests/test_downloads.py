"""Public files: what is missing is told with its address and place, what is there is checked."""

import dataclasses
import hashlib
import http.server
import threading

import pytest

from helpers.prepare import downloads, main, prepare, state
from helpers.prepare.table import SETS, Download

CONTENT = bytes(range(256)) * 40


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /file, the rest of it where a range is asked for; /short ends early, /page is a page for browsers."""

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked.append((self.path, start))
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/page":
            self.answer(202, b"")
        elif start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
        elif start and self.path != "/whole":
            self.answer(206, CONTENT[start:])
        elif self.path == "/short" and start == 0:
            self.answer(200, CONTENT[:5000], length=len(CONTENT))
        else:
            self.answer(200, CONTENT)

    def answer(self, status: int, body: bytes, length: int | None = None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def at(server):
    """A download from a path of the server."""

    def make(path: str, **known) -> Download:
        return Download("", "file.bin", f"http://127.0.0.1:{server.server_port}{path}", **known)

    return make


def test_a_file_is_fetched_and_taken_up_where_it_ended(at, server, tmp_path):
    with pytest.raises(ValueError, match=r"file\.bin: the download failed \(5,000 of 10,240 bytes\); the same command"):
        downloads.fetch(at("/short"), tmp_path)
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:5000]
    downloads.fetch(at("/file"), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked == [("/short", 0), ("/file", 5000)]
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]


def test_a_server_that_sends_all_again_and_a_part_that_is_whole_do_no_harm(at, tmp_path):
    part = tmp_path / "file.bin.part"
    for path, there in (("/whole", b"other bytes"), ("/file", CONTENT)):
        part.write_bytes(there)
        downloads.fetch(at(path), tmp_path)
        assert (tmp_path / "file.bin").read_bytes() == CONTENT
        assert not part.exists()
    part.write_bytes(CONTENT + b"more")
    with pytest.raises(ValueError, match="answers 416"):
        downloads.fetch(at("/file"), tmp_path)


@pytest.mark.parametrize(
    ("path", "told"), [("/gone", "answers 404 Not Found"), ("/page", "answers 202, not with a file; use a browser")]
)
def test_what_is_no_file_is_told(at, tmp_path, path, told):
    with pytest.raises(ValueError, match=rf"file\.bin: http://.*{told}"):
        downloads.fetch(at(path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_nobody_answers_at_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"the download failed .*the same command takes it up again"):
        downloads.fetch(Download("", "file.bin", "http://127.0.0.1:9/file"), tmp_path)
    with pytest.raises(ValueError, match="no address is known: download it by hand"):
        downloads.fetch(Download("", "file.bin", None), tmp_path)


def test_a_file_is_checked_against_all_that_is_known(at, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    sha256, md5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
    assert downloads.checked(at("/file", size=10_240, md5=md5, sha256=sha256), tmp_path) == sha256
    for known, told in (
        ({"size": 5}, r"file\.bin has 10,240 bytes, expected 5: remove it and download it again"),
        ({"md5": "0" * 32}, rf"file\.bin: MD5 is {md5}, expected 0{{32}}, of the table"),
        ({"sha256": "0" * 64}, rf"file\.bin: SHA-256 is {sha256}, expected 0{{64}}, of the table"),
    ):
        with pytest.raises(ValueError, match=told):
            downloads.checked(at("/file", **known), tmp_path)


def test_the_hash_of_the_first_use_is_kept_and_checked_from_then_on(at, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    sha256 = downloads.checked(at("/file"), tmp_path)
    downloads.record(at("/file"), tmp_path, sha256)
    assert (tmp_path / "file.bin.sha256").read_text() == f"{sha256}  file.bin\n"
    assert downloads.checked(at("/file"), tmp_path) == sha256
    path.write_bytes(CONTENT[:-1] + b"x")
    told = rf"SHA-256 is [0-9a-f]{{64}}, expected {sha256}, recorded in file\.bin\.sha256 when it was first used"
    with pytest.raises(ValueError, match=told):
        downloads.checked(at("/file"), tmp_path)
    downloads.record(at("/file"), tmp_path, "0" * 64)
    assert sha256 in (tmp_path / "file.bin.sha256").read_text()


# -- the command -------------------------------------------------------------------------------------------------------


def test_without_a_name_all_sets_are_listed_with_their_state(tmp_path, capsys):
    assert main([], tmp_path) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(SETS)
    assert lines["hematopoiesis"] == "download missing (1 of 1)"
    assert lines["intestine"] == "download missing (2 of 2)"
    assert lines["tahoe_tak901"] == "download missing (14 of 14)"
    assert lines["replogle"] == "download missing (3 of 3)"


@pytest.mark.parametrize("name", SETS)
def test_missing_files_are_told_with_address_place_size_and_licence(name, tmp_path, capsys):
    assert main([name], tmp_path) == 1
    told = capsys.readouterr().err
    entry = SETS[name]
    assert told.startswith(f"error: {name}: missing files, {len(entry.downloads)} in all:\n")
    for one in entry.downloads:
        size = f"({one.size / 1e9:.1f} GB)" if one.size else "(size unknown)"
        source = one.url or "an address that is not known"
        assert f"\n  {tmp_path / 'downloads' / one.file}, from {source} {size}\n" in told
    assert f"see {entry.page}; licence: {entry.licence or 'not known'}" in told
    assert (entry.note or "") in told
    assert ("--download" in told) == (name != "liver")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_set_stops_before_anything_is_made(tmp_path, capsys):
    assert main(["placenta", "hematopoeisis"], tmp_path) == 1
    assert "unknown set 'hematopoeisis' (did you mean 'hematopoiesis'?)" in capsys.readouterr().err


def test_nothing_is_fetched_unless_asked_for(at, server, tmp_path, monkeypatch, capsys):
    entry = dataclasses.replace(SETS["placenta"], downloads=(at("/file"),))
    monkeypatch.setitem(SETS, "placenta", entry)
    with pytest.raises(ValueError, match="missing files"):
        prepare("placenta", tmp_path)
    assert server.asked == []
    assert main(["placenta", "--download"], tmp_path) == 1
    assert server.asked == [("/file", 0)]
    assert "file.bin is not a readable h5ad file" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "downloads").iterdir()] == ["file.bin"], "what is no h5ad is not trusted"
    assert state("placenta", tmp_path) == "to be prepared"
