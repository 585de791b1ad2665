"""Fetches a job's input from an http(s) URL, in the job's own process: `python3 -m lathe.fetch TARGET URL`.

With LATHE_FETCHED naming a folder (one of the user's own), what was fetched before is kept there by digest and taken
again when the other side says that it is unchanged. The run's tag `lathe.input.NAME.sha256` says what the job got; NAME
is the folder that TARGET lies in.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.error
import urllib.request

_TIMEOUT = 60.0  # seconds for a connection, or for the next piece
_PIECE = 1 << 20
_VALIDATORS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


class Kept:
    """A folder of fetched files: `files/DIGEST`, and `urls/DIGEST-OF-URL.json` telling which file a URL was."""

    def __init__(self, folder):
        self._files, self._urls = folder / "files", folder / "urls"
        self._files.mkdir(parents=True, exist_ok=True)
        self._urls.mkdir(exist_ok=True)

    def temporary(self):
        return tempfile.NamedTemporaryFile(dir=self._files, prefix=".new-", delete=False)

    def find(self, url):
        """What is known of the URL and still here, or None."""
        try:
            known = json.loads(self._record(url).read_text())
            return known if self.path(known["sha256"]).is_file() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, url, temporary, sha256, validators):
        os.chmod(temporary, 0o444)
        os.replace(temporary, self.path(sha256))
        record = self._record(url)
        beside = record.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"url": url, "sha256": sha256, "validators": validators}))
        os.replace(beside, record)

    def path(self, sha256):
        return self._files / sha256

    def _record(self, url):
        return self._urls / (hashlib.sha256(url.encode()).hexdigest() + ".json")


def fetch(url, target, kept):
    """Puts the URL's content at `target`, read-only. Answers its SHA-256, its size, and whether it was kept before."""
    known = kept.find(url)
    headers = {"User-Agent": "lathe-job"}
    if known:
        headers.update({_VALIDATORS[name]: value for name, value in known["validators"].items()})
    fresh = False
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as answer:
            sha256 = _take(url, answer, kept)
            fresh = True
    except urllib.error.HTTPError as error:
        if error.code != 304 or not known:
            raise
        sha256 = known["sha256"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(kept.path(sha256), target)
    except OSError:  # another file system
        shutil.copyfile(kept.path(sha256), target)
        target.chmod(0o444)
    return sha256, target.stat().st_size, not fresh


def _take(url, answer, kept):
    digest, size = hashlib.sha256(), 0
    with kept.temporary() as file:
        try:
            while piece := answer.read(_PIECE):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
            expected = answer.headers.get("Content-Length")
            if expected and int(expected) != size:
                raise OSError(f"the connection broke after {size} of {expected} bytes")
            file.flush()
            validators = {name: answer.headers[name] for name in _VALIDATORS if answer.headers.get(name)}
            kept.keep(url, file.name, digest.hexdigest(), validators)
        except BaseException:
            os.unlink(file.name)
            raise
    return digest.hexdigest()


def _tell_the_run(name, sha256):
    import lathe

    if lathe.active_run() is not None:
        lathe.set_tag(f"lathe.input.{name}.sha256", sha256)


def main(arguments):
    target, url = pathlib.Path(arguments[0]), arguments[1]
    name = target.parent.name
    if not url.startswith(("http://", "https://")):
        print(f"[lathe] inputs.{name}: {url} is not an http(s) URL", file=sys.stderr)
        return 1
    folder = os.environ.get("LATHE_FETCHED") or os.path.join(os.environ.get("TMPDIR", "/tmp"), "fetched")
    try:
        sha256, size, again = fetch(url, target, Kept(pathlib.Path(folder)))
    except urllib.error.HTTPError as error:
        why = f"the server answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        why = str(error.reason)
    except (OSError, ValueError) as error:
        why = str(error)
    else:
        print(f"[lathe] inputs.{name}: {url} {'is unchanged, kept' if again else 'fetched'}: "
              f"{size} bytes, sha256 {sha256}", flush=True)  # fmt: skip
        _tell_the_run(name, sha256)
        return 0
    print(f"[lathe] inputs.{name}: cannot fetch {url}: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
