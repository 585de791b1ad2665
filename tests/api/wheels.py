"""Packages made by hand, and a package index (PEP 503) on loopback: no test needs another machine."""

import base64
import hashlib
import http.server
import threading
import zipfile


def make_wheel(folder, name, version="1.0", code="", requires=()):
    """A wheel with one module of the package's name, and answers its path."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {f"{module}.py": f"VERSION = {version!r}\n{code}", f"{info}/METADATA": metadata,
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}  # fmt: skip
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_in, text in files.items():
            archive.writestr(name_in, text)
    path.chmod(0o644)
    return path


class Index:
    """Serves the wheels of a folder. `asked`: the paths that were asked for. Holds answers back while `gate` is clear."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()

    def __enter__(self):
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path)
                index.gate.wait(60)
                parts = self.path.strip("/").split("/")
                if parts[0] == "files":
                    return self.answer(index.folder / parts[1], "application/zip")
                wanted = parts[1].replace("-", "_") if len(parts) > 1 else ""
                found = [one.name for one in index.folder.glob("*.whl") if one.name.split("-")[0] == wanted]
                if not found:
                    return self.send_error(404)
                page = "".join(f'<a href="/files/{one}">{one}</a><br>' for one in found)
                self.answer(page.encode(), "text/html")

            def answer(self, content, kind):
                content = content if isinstance(content, bytes) else content.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *ignored):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind, error, trace):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
