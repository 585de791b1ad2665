"""A real Slurm cluster of several nodes on this machine (tests/slurm.sh), and a way for its nodes to a Lathe server.

The cluster has a network of its own, which this machine is not part of. A server answers on loopback here; `Bridge` lets
the nodes reach it under the controller's address, as through a router, and the commands that the server runs go into
the cluster's namespaces, as ssh would bring them to a login node.
"""

import ctypes
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

from lathe_server import ROOT, Server, bin_folder, wait_for

SCRIPT = ROOT / "tests" / "slurm.sh"
CONTROLLER = "10.77.0.1"
PORT = 8080


def why_not():
    """Why no cluster can be started here; None: it can."""
    if os.geteuid() != 0:
        return "a Slurm cluster of namespaces needs root"
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "ip", "nsenter") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} is not installed (packaging/packages.sh install test)"
    trial = subprocess.run(["unshare", "--pid", "--fork", "--net", "--mount", "--uts", "--mount-proc", "true"], capture_output=True, text=True)
    return f"no namespaces can be made here: {trial.stderr.strip()}" if trial.returncode else None


class Cluster:
    def __init__(self, *flags):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-slurm.", dir="/var/tmp"))
        self.folder.rmdir()
        # What the nodes must not see: the server's data and programs. They have a /tmp of their own.
        self.flags = [*flags, "--hide", str(ROOT), "--hide", "/var/lib/lathe-jobs", "--hide", str(bin_folder())]

    def __enter__(self):
        self.verb("up", *self.flags, limit_s=120)
        # As the server will run Slurm's commands: a way into the cluster that does not work is said now, not by each test.
        command = self.command
        done = subprocess.run([*command.split(), "sinfo", "-h"], capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            self.verb("down")
            raise RuntimeError(f"{command} sinfo -h: {done.stdout}{done.stderr}")
        return self

    def __exit__(self, *_):
        self.verb("down")

    def verb(self, verb, *arguments, limit_s=60, check=True):
        done = subprocess.run([SCRIPT, verb, self.folder, *arguments], capture_output=True, text=True, timeout=limit_s)
        assert not check or done.returncode == 0, f"slurm.sh {verb} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def init(self):
        return int((self.folder / "run" / "init.pid").read_text())

    @property
    def command(self):
        """The words that bring one of Slurm's commands to the login node."""
        return f"nsenter -t {self.init} -n -m -u -p -r --wd=/ -- env SLURM_CONF={self.folder}/etc/slurm.conf"

    def network(self, node=None):
        """The file that stands for the network of the controller, or of the node."""
        if node is None:
            return f"/proc/{self.init}/ns/net"
        pid = (self.folder / "run" / f"node-{node}.pid").read_text().strip()  # in the cluster's namespace
        return f"/proc/{self.init}/root/proc/{pid}/ns/net"

    def run(self, *command, check=True):
        return self.verb("exec", *command, check=check)

    def queue(self):
        """What squeue shows: (id, comment, state)."""
        lines = self.run("squeue", "--noheader", "--all", "-o", "%i|%k|%T").splitlines()
        return [tuple(line.split("|")) for line in lines]

    def on_node(self, node, *command):
        pid = (self.folder / "run" / f"node-{node}.pid").read_text().strip()  # in the cluster's namespace
        return self.run("nsenter", "-t", pid, "-n", "-m", "-u", "-p", "-r", "--wd=/", "--", *command)

    def clear(self, limit_s=60):
        """Cancels what a test left, and waits until every static node is there and free again."""
        self.run("scancel", "--user=root", check=False)
        # Slurm takes nodes out of use on which a number that it gave twice turned up.
        self.run("scontrol", "update", "nodename=n[1-3]", "state=resume", check=False)

        def idle():
            states = self.run("sinfo", "-hN", "-p", "main", "-o", "%T", check=False).split()
            return states and all(state == "idle" for state in states) and not self.queue()

        wait_for(idle, limit_s, "an idle cluster")


class Bridge:
    """Passes connections to an address of the cluster's controller, or of a node, on to a server on this machine's loopback."""

    def __init__(self, cluster, target_port, address=CONTROLLER, port=PORT, node=None):
        self.target_port = target_port
        self.refusing = False
        self.open = set()
        libc = ctypes.CDLL(None, use_errno=True)
        ready = threading.Event()

        def listen():  # in a thread of its own, which alone enters the network: a socket stays in the one it was made in
            with open(cluster.network(node)) as network:
                assert libc.setns(network.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())
            self.listener = socket.create_server((address, port), backlog=256)
            ready.set()

        threading.Thread(target=listen).start()
        assert ready.wait(60)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def refuse(self):
        """Lets nobody through until `accept`."""
        self.refusing = True
        self.cut()

    def accept(self):
        self.refusing = False

    def cut(self):
        """Breaks all connections that are open now."""
        for end in list(self.open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port), timeout=60)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            self.open |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source, sink):
        try:
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open.discard(source)
        source.close()


class SlurmServer(Server):
    """A `lathe serve` that is connected to the cluster, with the compute targets "main" and "elastic"."""

    def __init__(self, cluster, *flags, poll="1s", beat="1s", **options):
        self.cluster = cluster
        self.bridge = None
        scheme = "https" if "--tls-certificate" in flags else "http"
        super().__init__("--slurm", cluster.command, "--slurm-url", f"{scheme}://{CONTROLLER}:{PORT}", "--slurm-poll", poll,
                         "--slurm-beat", beat, "--allowed-hosts", CONTROLLER, *flags, **options)  # fmt: skip

    def start(self, *ports):
        super().start(*ports)
        if self.bridge is None:
            self.bridge = Bridge(self.cluster, self.port)

    def __exit__(self, *error):
        try:
            super().__exit__(*error)
        finally:
            if self.bridge is not None:
                self.bridge.close()

    def target(self, name="main", partition="main", **document):
        answer = self.post("/api/v1/compute", json={"name": name, "type": "slurm", "partition": partition, **document})
        assert answer.status_code in (200, 201), answer.text
        return name
