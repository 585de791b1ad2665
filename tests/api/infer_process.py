"""A `lathe-infer` process, for the tests."""

import signal
import subprocess

from lathe_server import bin_folder


class InferProcess:
    """`log`: its file, `env`: its variables. Once started: `process`, and where it answers: `url`, `grpc` (HOST:PORT)."""

    process = None

    def run(self, *words):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([bin_folder() / "lathe-infer", *map(str, words)], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, env=self.env, text=True)  # fmt: skip
        ready = self.process.stdout.readline().split()
        assert ready[:1] == ["ready"], f"no ready line but {ready}\n{self.log_tail()}"
        self.url, self.grpc = ready[1], ready[3]

    def stop(self):
        """SIGTERM; answers the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.process.stdout.close()
        return status

    def kill9(self):
        self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()

    def log_tail(self, lines=60):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
