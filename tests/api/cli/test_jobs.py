"""Jobs from the command line: files, local folders, streams."""

import os
import signal
import subprocess

import pytest
from lathe_server import bin_folder, wait_for


@pytest.fixture
def project(server):
    """A folder that jobs can be made from, readable by everybody on the way."""
    folder = server.folder / f"project-{len(list(server.folder.iterdir()))}"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.py").write_text("import sys\nprint(open(sys.argv[1]).read(), 'rate', sys.argv[2])\n")
    (folder / "src" / "left.log").write_text("not for the snapshot")
    (folder / "src" / ".amlignore").write_text("*.log\n")
    (folder / "table.csv").write_text("a,b")
    (folder / "job.yml").write_text("""\
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: ls; python3 main.py ${{inputs.table}} ${{inputs.rate}}
code: src
inputs:
  rate: 0.1
  table: {type: uri_file, path: table.csv}
compute: azureml:local
""")
    return folder


def test_a_job_streams_its_log_to_stdout_and_its_states_to_stderr(server, project):
    done = server.cli("job", "create", "-f", project / "job.yml", "--set", "inputs.rate=0.5", "--stream")
    assert "a,b rate 0.5" in done.stdout
    assert "lathe: Running" in done.stderr and done.stderr.rstrip().endswith("lathe: Completed")
    name = done.stderr.split("lathe: job ")[1].split()[0]
    again = server.cli("job", "stream", "-n", name)
    assert again.stdout == done.stdout
    server.cli("job", "download", "-n", name, "-p", project / "got")
    assert any("a,b rate 0.5" in file.read_text() for file in (project / "got").rglob("*.txt"))


def test_folders_that_the_server_does_not_see_are_uploaded_once(server, project):
    made = server.cli("user", "create", "joe", "--query", "token", "-o", "tsv", check=False)
    if made.returncode != 0:
        pytest.skip("one user only: jobs run as the server's own account here")
    (project / "src" / "private.txt").write_text("hidden from other accounts " + os.urandom(8).hex())
    (project / "src").chmod(0o700)
    joe = {"LATHE_TOKEN": made.stdout.strip()}
    done = server.cli("job", "create", "-f", project / "job.yml", "--stream", env=joe)
    assert "uploading" in done.stderr
    files = done.stdout.split()
    assert "private.txt" in files and "left.log" not in files
    assert "uploading" not in server.cli("job", "create", "-f", project / "job.yml", "--stream", env=joe).stderr


def test_a_failed_job_fails_the_stream_with_its_verdict(server):
    done = server.cli("job", "create", "--command", "echo out; exit 3", "--compute", "local", "--stream", check=False)
    assert done.returncode == 1
    assert done.stdout == "out\n"
    assert "3" in done.stderr.splitlines()[-1]


def test_errors_are_shown_where_they_stand_in_the_file(server, project):
    file = project / "bad.yml"
    file.write_text("command: ls\ncompute: locla\nlimits:\n  timeout: soon\n")
    done = server.cli("job", "create", "-f", file, check=False)
    assert done.returncode == 2 and done.stderr.startswith(f"lathe: {file}:4: limits.timeout: "), done
    done = server.cli("job", "create", "-f", file, "--set", "limits.timeout=5", check=False)
    assert done.returncode == 2 and f"{file}:2: " in done.stderr and '"local"' in done.stderr, done
    file.write_text("command: ls\ncode: nowhere\n")
    assert f"{file}:2: code: there is no" in server.cli("job", "create", "-f", file, check=False).stderr
    file.write_text("command: [ls\ncode: x\n")
    assert server.cli("job", "create", "-f", file, check=False).stderr.startswith(f"lathe: {file}:")


def test_what_was_not_honoured_is_reported_and_strict_refuses_it(server, project):
    args = ("job", "create", "-f", project / "job.yml", "--environment", "azureml:AzureML-sklearn@latest")
    done = server.cli(*args, "--stream")
    assert "environment: substituted: " in done.stderr
    assert server.cli(*args, "--strict", check=False).returncode == 2


def start_stream(server, name):
    env = {**server.env, "LATHE_URL": server.url, "LATHE_TOKEN": server.token}
    return subprocess.Popen([bin_folder() / "lathe", "job", "stream", "-n", name], env=env, cwd=server.home, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def submit_waiting(server, flag):
    """A job that prints, waits for a file to appear in its own folder's place, prints again."""
    command = f"echo before; until [ -e {flag} ]; do sleep 0.05; done; echo after"
    return server.cli("job", "create", "--command", command, "--compute", "local", "--query", "name", "-o", "tsv").stdout.strip()


def test_a_stream_survives_a_killed_server(fresh_server):
    server = fresh_server
    flag = server.folder / "go"
    name = submit_waiting(server, flag)
    stream = start_stream(server, name)
    assert stream.stdout.readline() == "before\n"
    server.kill9()
    server.restart()
    flag.touch()
    out, err = stream.communicate(timeout=60)
    assert (stream.returncode, out) == (0, "after\n"), err
    assert "Completed" in err


def test_ctrl_c_detaches_and_the_job_goes_on(server):
    flag = server.folder / "go-on"
    name = submit_waiting(server, flag)
    stream = start_stream(server, name)
    assert stream.stdout.readline() == "before\n"
    stream.send_signal(signal.SIGINT)
    _, err = stream.communicate(timeout=20)
    assert stream.returncode == 130
    assert f"lathe job stream -n {name}" in err and f"lathe job cancel -n {name}" in err
    flag.touch()
    state = lambda: server.cli("job", "show", "-n", name, "--query", "status", "-o", "tsv").stdout.strip()  # noqa: E731
    wait_for(lambda: state() == "Completed", what="the job's end")
