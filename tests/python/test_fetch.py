"""A job's inputs from URLs: fetched once, kept by digest, and a sentence when that does not work."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading

import pytest

CONTENT = b"a,b\n1,2\n"


class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"too little")
            self.close_connection = True
            return
        if self.path == "/data.csv" and self.headers.get("If-None-Match") == self.server.etag:
            self.send_response(304)
            self.end_headers()
            return
        found = self.path == "/data.csv"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.server.content) if found else 0))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        if found:
            self.wfile.write(self.server.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked, server.etag, server.content = [], '"one"', CONTENT
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(script, tmp_path):
    environment = {**script.environment, "LATHE_FETCHED": str(tmp_path / "kept")}

    def run(url, job="one"):
        target = tmp_path / job / "inputs" / "table" / "data.csv"
        done = subprocess.run([sys.executable, "-m", "lathe.fetch", target, url], env=environment, cwd=tmp_path,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        return done, target

    return run


def test_the_content_arrives_read_only_and_its_digest_is_told_to_the_run(site, fetch, recorder):
    done, target = fetch(site.url + "/data.csv")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o777 == 0o444
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert digest in done.stdout
    assert recorder.tags()["lathe.input.table.sha256"] == digest


def test_what_has_not_changed_is_not_sent_again(site, fetch):
    fetch(site.url + "/data.csv")
    done, target = fetch(site.url + "/data.csv", job="two")
    assert "is unchanged, kept" in done.stdout
    assert target.read_bytes() == CONTENT
    assert os.stat(target).st_nlink > 1  # shared, not copied


def test_what_has_changed_is_fetched_anew_and_the_old_job_keeps_its_own(site, fetch):
    _, old = fetch(site.url + "/data.csv")
    site.etag, site.content = '"two"', b"other"
    _, new = fetch(site.url + "/data.csv", job="two")
    assert (old.read_bytes(), new.read_bytes()) == (CONTENT, b"other")


@pytest.mark.parametrize("path, why", [("/none", "404"), ("/short", "broke after 10 of 100 bytes")])
def test_a_failure_is_one_sentence_and_leaves_nothing(site, fetch, tmp_path, path, why):
    done, target = fetch(site.url + path)
    assert done.returncode == 1
    assert done.stderr.startswith("[lathe] inputs.table: cannot fetch http://") and why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not target.exists()
    assert list((tmp_path / "kept" / "files").iterdir()) == []


def test_nobody_there(fetch):
    done, _ = fetch("http://127.0.0.1:1/data.csv")
    assert done.returncode == 1 and "refused" in done.stderr
