"""Code, inputs and outputs."""

import hashlib
import http.server
import os
import pathlib
import shutil
import tempfile
import threading

import pytest

from job_helpers import run, submit


@pytest.fixture
def folder():
    """A folder that every account may read."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="lathe-job-files."))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def upload(server, files):
    """Uploads a folder as the command line does, and answers its digest."""
    listed = []
    for path, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        server.put(f"/api/v1/blobs/{digest}", data=content).raise_for_status()
        listed.append({"path": path, "sha256": digest, "size": len(content), "executable": path.endswith(".sh")})
    answer = server.post("/api/v1/trees", json={"files": listed})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["digest"]


def test_uploaded_code_is_the_working_folder_and_may_be_written_to(server):
    digest = upload(server, {"main.py": b"import helper.text as t; print(t.WORD)", "helper/text.py": b"WORD = 'here'",
                             "run.sh": b"#!/bin/sh\necho shell\n"})  # fmt: skip
    job, log = run(server, "python main.py && ./run.sh && echo more > new && echo x >> main.py", code={"tree": digest})
    assert log == "here\nshell\n", job
    assert job["plan"]["code"] == digest
    # What one job did to its code does not reach the next.
    assert run(server, "python main.py && ls", code={"tree": digest})[1] == "here\nhelper\nmain.py\nrun.sh\n"


def test_a_folder_of_the_servers_machine_is_taken_as_code(server, folder):
    (folder / "main.py").write_text("print('local')")
    (folder / ".amlignore").write_text("big.bin\n")
    (folder / "big.bin").write_bytes(b"0" * 1000)
    job, log = run(server, "python main.py; ls", code=str(folder))
    assert log.split() == ["local", "main.py"] or log.split() == ["local", ".amlignore", "main.py"], job
    assert len(job["plan"]["code"]) == 64


def test_missing_blobs_are_refused_at_submission(server):
    refused = submit(server, "true", code={"tree": "0" * 64}, expect=400)
    assert refused["detail"].startswith("code:")


def test_inputs_are_there_and_cannot_be_written_to(server, folder):
    (folder / "table.csv").write_text("a,b\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_text("x")
    command = "cat ${{inputs.file}} ${{inputs.all}}/deep/x; echo; basename ${{inputs.file}}; echo no > ${{inputs.file}}"
    job, log = run(server, command, inputs={
        "file": {"type": "uri_file", "path": str(folder / "table.csv")},
        "all": {"type": "uri_folder", "path": str(folder)},
    })  # fmt: skip
    assert log.startswith("a,b\nx\ntable.csv\n")
    assert (folder / "table.csv").read_text() == "a,b\n"
    if os.geteuid() == 0:
        assert job["status"] == "Failed"
    by_name = {planned["name"]: planned for planned in job["plan"]["inputs"]}
    assert by_name["file"]["digest"] == hashlib.sha256(b"a,b\n").hexdigest()
    assert len(by_name["all"]["digest"]) == 64


def test_a_data_asset_is_an_input_by_version_and_by_label(server, folder):
    (folder / "d.txt").write_text("asset")
    made = server.post("/api/v1/data", json={"name": "words", "version": "7", "type": "uri_file", "path": str(folder / "d.txt")})
    assert made.status_code == 201, made.text
    for reference in ("azureml:words:7", "azureml:words@latest"):
        job, log = run(server, "cat ${{inputs.d}}", inputs={"d": {"type": "uri_file", "path": reference}})
        assert log == "asset", job


def test_uploaded_data_is_an_input(server):
    digest = upload(server, {"a.txt": b"uploaded"})
    job, log = run(server, "cat ${{inputs.d}}/a.txt", inputs={"d": {"type": "uri_folder", "path": f"tree:{digest}"}})
    assert log == "uploaded", job


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from far away\n")

    def log_message(self, *arguments):
        pass


def test_a_url_is_fetched_by_the_job(server):
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{site.server_port}/some/data.csv"
        job, log = run(server, "basename ${{inputs.d}}; cat ${{inputs.d}}", inputs={"d": {"type": "uri_file", "path": url}})
        assert job["status"] == "Completed", log
        assert log.endswith("data.csv\nfrom far away\n")
    finally:
        site.shutdown()
        site.server_close()
    job, log = run(server, "true", inputs={"d": {"type": "uri_file", "path": "http://127.0.0.1:1/x"}})
    assert job["status"] == "Failed"
    assert "inputs.d: cannot fetch http://127.0.0.1:1/x" in job["error"]


def test_outputs_are_kept_and_can_be_fetched(server):
    job, log = run(server, "mkdir ${{outputs.model}}/deep && echo weights > ${{outputs.model}}/deep/w",
                   outputs={"model": {"type": "uri_folder"}})  # fmt: skip
    assert job["status"] == "Completed", log
    files = {file["path"]: file["size"] for file in server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]}
    assert files["named-outputs/model/deep/w"] == 8
    answer = server.get(f"/api/v1/jobs/{job['name']}/files/named-outputs/model/deep/w")
    assert answer.content == b"weights\n"
    assert "attachment" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize("path", ["../../lathe.db", "..%2f..%2flathe.db", "named-outputs/o/../../../../admin.token", "named-outputs/o/link"])
def test_paths_that_lead_outside_are_not_served(server, path):
    job, _ = run(server, f"ln -s {server.data}/admin.token ${{{{outputs.o}}}}/link; true", outputs={"o": {}})
    answer = server.get(f"/api/v1/jobs/{job['name']}/files/{path}")
    assert answer.status_code in (400, 404)
    assert server.token not in answer.text


@pytest.mark.parametrize("folder, prefix", [("../outputs", "named-outputs"), ("outputs", "artifacts/outputs"), ("../code", "artifacts")])
def test_a_link_where_a_folder_of_the_job_was_leads_nobody_outside(server, folder, prefix):
    job, log = run(server, f"mkdir -p outputs; rm -rf {folder}; ln -s {server.data} {folder}", outputs={"o": {}})
    assert job["status"] == "Completed", log
    listed = [file["path"] for file in server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]]
    assert listed == ["logs/user_logs/std_log.txt"] or listed == []
    for path in (f"{prefix}/admin.token", f"{prefix}/outputs/admin.token", f"{prefix}/lathe.db"):
        answer = server.get(f"/api/v1/jobs/{job['name']}/files/{path}")
        assert answer.status_code == 404, path


def test_a_link_in_place_of_an_output_is_not_registered_as_data(server):
    job, _ = run(server, f"rmdir ${{{{outputs.o}}}} && ln -s {server.data} ${{{{outputs.o}}}}",
                 outputs={"o": {"type": "uri_folder", "name": "not-made"}})  # fmt: skip
    assert job["status"] == "Failed" and "a link is in the way" in job["error"], job
    assert server.get("/api/v1/data/not-made/labels/latest").status_code == 404


def test_a_pipe_among_the_outputs_stops_nobody(server):
    job, _ = run(server, "mkfifo ${{outputs.o}}/pipe", outputs={"o": {}})
    assert server.get(f"/api/v1/jobs/{job['name']}/files/named-outputs/o/pipe", timeout=60).status_code == 404


def test_a_named_output_becomes_a_data_asset_that_the_next_job_reads(server):
    job, log = run(server, "echo made > ${{outputs.o}}/f", outputs={"o": {"type": "uri_folder", "name": "made-by-job", "version": "1"}})
    assert job["status"] == "Completed", job["error"]
    asset = server.get("/api/v1/data/made-by-job/versions/1").json()
    assert asset["creation_context"]["created_by"] == "admin"
    assert run(server, "cat ${{inputs.d}}/f", inputs={"d": {"type": "uri_folder", "path": "azureml:made-by-job:1"}})[1] == "made\n"


def test_what_is_written_to_the_outputs_folder_of_the_code_is_an_artifact_as_in_azure(server):
    job, _ = run(server, "mkdir outputs && echo kept > outputs/model.txt")
    answer = server.get(f"/api/v1/jobs/{job['name']}/files/artifacts/outputs/model.txt")
    assert answer.content == b"kept\n"


def test_data_that_changed_since_it_was_registered_is_said(server, tmp_path):
    tmp_path.chmod(0o755)
    data = tmp_path / "churn.csv"
    data.write_text("1,2\n")
    assert server.post("/api/v1/data", json={"name": "churn", "path": str(data)}).status_code == 201
    inputs = {"d": {"type": "uri_file", "path": "azureml:churn:1"}}
    assert submit(server, "true", inputs=inputs)["report"] == []
    data.write_text("1,2,3\n")
    report = submit(server, "true", inputs=inputs)["report"]
    assert [entry["field"] for entry in report] == ["inputs.d.path"] and "changed on disk" in report[0]["detail"], report
    assert "changed on disk" in submit(server, "true", inputs=inputs, params={"strict": "true"}, expect=400)["detail"]


def test_a_file_that_json_cannot_name_does_not_spoil_the_list(server):
    job, _ = run(server, 'mkdir outputs; echo x > outputs/good; echo x > "outputs/$(printf "bad\\xff")"')
    listed = server.get(f"/api/v1/jobs/{job['name']}/files").json()["value"]
    assert [file["path"] for file in listed if file["path"].startswith("artifacts/")] == ["artifacts/outputs/good"]
