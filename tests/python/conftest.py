import os
import pathlib
import subprocess
import sys

import pytest

from recorder import Recorder

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python"


@pytest.fixture
def recorder():
    recorder = Recorder().start()
    yield recorder
    recorder.stop()


class Script:
    """Starts Python code as a job would be started: the package on its path, the run in its environment."""

    def __init__(self, folder, recorder):
        self._folder = folder
        self._started = []
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PACKAGE),
            "MLFLOW_TRACKING_URI": recorder.url, "MLFLOW_RUN_ID": "job-1", "MLFLOW_TRACKING_TOKEN": "secret",
        }

    def start(self, code):
        process = subprocess.Popen([sys.executable, "-c", "import lathe\n" + code], cwd=self._folder, text=True,
                                   env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self._started.append(process)
        return process

    def run(self, code, expect=0):
        process = self.start(code)
        out, err = process.communicate(timeout=60)
        assert process.returncode == expect, err
        process.out, process.err = out, err
        return process

    def end_all(self):
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def script(tmp_path, recorder):
    script = Script(tmp_path, recorder)
    yield script
    script.end_all()
