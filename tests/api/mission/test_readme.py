"""What the README tells a newcomer to type works as it stands there."""

import re
import subprocess

from lathe_server import ROOT, bin_folder


def test_the_first_job_by_hand_works_as_the_readme_tells_it(fresh_server):
    section = (ROOT / "README.md").read_text().split("## A first job by hand")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
    lines = [line for block in blocks for line in block.splitlines()
             if not line.startswith(("export PATH=", "lathe serve"))]  # fmt: skip
    environment = {**fresh_server.env, "PATH": f"{bin_folder()}:{fresh_server.env['PATH']}"}
    said = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", "\n".join(lines)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=170)  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert '"outputs"' in said.stdout.splitlines()[-1]
