"""Container images for the tests, made here: no registry is asked, and podman keeps them in a store of its own."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import zipfile

TOOLS = ("podman", "busybox", "unshare", "bwrap")


def why_not():
    """Why no image can be made and run here; None: it can."""
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is not installed (packaging/packages.sh install test)"
    if os.geteuid() != 0:
        return "images with several accounts take root"
    trial = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "none", "/var/cache"],
                           capture_output=True, text=True)  # fmt: skip
    return f"no namespaces can be made here: {trial.stderr.strip()}" if trial.returncode else None


class Store:
    """A store of podman's, as a server's account has one. `env` is what its server has to be told."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-images.", dir="/var/tmp"))
        conf = self.folder / "storage.conf"
        conf.write_text(f'[storage]\ngraphroot = "{self.folder}/store"\nrunroot = "{self.folder}/run"\n')
        self.env = {"CONTAINERS_STORAGE_CONF": str(conf)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder / "store/overlay"], capture_output=True)  # podman makes a mount of it
        shutil.rmtree(self.folder)

    def podman(self, *words):
        done = subprocess.run(["podman", *words], env={**os.environ, **self.env}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"podman {words}: {done.stderr}"
        return done.stdout

    def add(self, name, root, *changes):
        """Makes an image of the folder `root`; `changes` as in a Dockerfile."""
        archive = self.folder / "root.tar"
        subprocess.run(["tar", "-C", root, "--owner=0", "--group=0", "-cf", archive, "."], check=True)
        self.podman("import", *[word for change in changes for word in ("--change", change)], archive, name)
        archive.unlink()


def busybox_root(folder):
    """A small system: a shell and the usual commands."""
    for part in ("bin", "etc", "home", "tmp", "usr/bin", "var/lib"):
        (folder / part).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder / "bin/busybox")
    for name in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/motd").write_text("an image of busybox\n")
    return folder


def add_python(folder):
    """This machine's Python, where images of Docker Hub have it."""
    program = pathlib.Path("/usr/bin/python3").resolve()
    for part in ("bin", "lib"):
        (folder / "usr/local" / part).mkdir(parents=True)
    shutil.copy(program, folder / "usr/local/bin/python3")
    library, copy = pathlib.Path(f"/usr/lib/{program.name}"), folder / f"usr/local/lib/{program.name}"
    # Its modules as one file, since a thousand take their time.
    with zipfile.ZipFile(folder / f"usr/local/lib/{program.name.replace('.', '')}.zip", "w") as modules:
        for path in library.rglob("*.py"):
            if not {"test", "idlelib", "lib2to3", "ensurepip"} & set(path.parts):
                modules.write(path, path.relative_to(library))
    shutil.copytree(library / "lib-dynload", copy / "lib-dynload")
    shutil.copy(library / "os.py", copy)  # by which it finds the folder
    programs = [program, *(library / "lib-dynload").glob("*.so")]
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        path = next((word for word in line.split() if word.startswith("/") and not word.endswith(":")), None)
        if path and not (folder / path[1:]).exists():
            (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path[1:])
    return folder
