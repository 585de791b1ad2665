"""Azure's command-job YAML: what is honoured, substituted, ignored and refused is said field by field."""

import pytest

from job_helpers import run, submit


def verdicts(job):
    return {entry["field"]: entry["verdict"] for entry in job["report"]}


def test_every_field_of_azures_examples_is_honoured_or_said(server):
    job = submit(
        server,
        "echo ${{inputs.epochs}} ${{inputs.rate}} $[[ --gone ${{inputs.absent}} ]]",
        **{"$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"},
        inputs={"epochs": 3, "rate": 0.1},
        environment={"image": "library/python:latest"},
        compute="azureml:local",
        resources={"instance_count": 1, "shm_size": "2g"},
        services={"my_jupyter": {"job_service_type": "jupyter_lab"}},
        identity={"type": "user_identity"},
        queue_settings={"job_tier": "spot"},
        distribution={"type": "pytorch", "process_count_per_instance": 1},
        limits={"timeout": 60},
        tags={"a": 1},
    )
    said = verdicts(job)
    for field in ("services", "identity", "resources.shm_size"):
        assert said[field] == "ignored"
    assert "queue_settings" not in said
    assert job["plan"]["job_tier"] == "spot"
    assert "substituted" in [verdict for field, verdict in said.items() if field.startswith("environment")]


def test_strict_refuses_what_would_be_substituted_or_ignored(server):
    refused = submit(server, "true", identity={"type": "user_identity"}, expect=400, params={"strict": "true"})
    assert refused["detail"].startswith("identity:")


@pytest.mark.parametrize(
    "document, begins",
    [
        ({"command": ""}, "command:"),
        ({"command": "echo ${{inputs.epoch}}", "inputs": {"epochs": 1}}, "command:"),
        ({"command": "echo ${{search_space.x}}"}, "command:"),
        ({"command": "echo ${{inputs.x"}, "command:"),
        ({"command": "true", "limits": {"timeout": "soon"}}, "limits.timeout:"),
        ({"command": "true", "limits": {"timeout": -1}}, "limits.timeout:"),
        ({"command": "true", "resources": {"instance_count": 2}}, "resources.instance_count:"),
        ({"command": "true", "compute": "nowhere"}, "compute:"),
        ({"command": "true", "type": "sweep"}, "type:"),
        ({"command": "true", "name": "a/b"}, "name:"),
        ({"command": "true", "inputs": {"../x": 1}}, "inputs."),
        ({"command": "true", "inputs": {"d": {"type": "uri_file", "path": "azureml:nobody:1"}}}, "inputs.d.path:"),
        ({"command": "true", "inputs": {"d": {"type": "uri_file", "path": "/no/such/file"}}}, "inputs.d.path:"),
        ({"command": "true", "inputs": {"d": {"type": "uri_fil", "path": "/tmp"}}}, "inputs.d.type:"),
        ({"command": "true", "inputs": {"d": {"type": "uri_file"}}}, "inputs.d.path:"),
        ({"command": "true", "outputs": {"o": {"type": "file"}}}, "outputs.o.type:"),
        ({"command": "true", "comand": "true"}, "comand:"),
        ({"command": "true", "code": "git+https://example.com/x"}, "code:"),
        ({"command": ["true"]}, "command:"),
        ({"command": "true", "tags": ["a"]}, "tags:"),
        ({"command": "true", "environment_variables": {"A": {"b": 1}}}, "environment_variables.A:"),
    ],
)
def test_an_error_begins_with_the_path_of_the_field(server, document, begins):
    answer = server.post("/api/v1/jobs", json=document)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(begins), answer.json()["detail"]


def test_unknown_names_come_with_the_nearest(server):
    document = {"command": "echo ${{inputs.epoch}}", "inputs": {"epochs": 1}}
    assert '"epochs"' in server.post("/api/v1/jobs", json=document).json()["detail"]
    assert '"local"' in server.post("/api/v1/jobs", json={"command": "true", "compute": "locl"}).json()["detail"]


def test_optional_parts_go_with_their_inputs(server):
    command = "echo a $[[--b ${{inputs.b}}]] $[[--c ${{inputs.c}}]]"
    assert run(server, command, inputs={"b": 1})[1] == "a --b 1\n"


def test_values_are_written_as_azure_writes_them(server):
    command = "echo ${{inputs.i}} ${{inputs.f}} ${{inputs.b}} ${{inputs.s}}"
    assert run(server, command, inputs={"i": 3, "f": 0.5, "b": True, "s": "x y"})[1] == "3 0.5 True x y\n"


def test_environment_variables_reach_the_job(server):
    command = 'echo "$A $B $AZUREML_RUN_ID"'
    job, log = run(server, command, environment_variables={"A": "one", "B": 2})
    assert log == f"one 2 {job['name']}\n"


def test_not_json_is_refused_with_its_place(server):
    answer = server.post("/api/v1/jobs", data="{\n  nonsense", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "line 2" in answer.json()["detail"]


def test_what_no_program_can_be_given_is_refused_at_once(server):
    submit(server, "echo a\0b", expect=400)
    submit(server, ": " + "a" * 200_000, expect=400)
    for variables in ({"A=B": "c"}, {"": "c"}, {"A": "b\0c"}, {"A": "b" * 200_000}):
        assert submit(server, "true", expect=400, environment_variables=variables)["detail"].startswith("environment_variables")


def test_a_relative_code_folder_is_not_looked_for_where_the_server_runs(server):
    for folder in (".", "..", ""):
        assert "relative" in submit(server, "true", expect=400, code=folder)["detail"]
