"""5. Puts it to work. Online endpoints answer in real time."""

import json
import subprocess
import sys

import requests

from lathe_server import wait_for


def key_of(mission):
    return mission.lathe("online-endpoint", "get-credentials", "-n", "cancer").json()["primaryKey"]


def infer(uri, key, rows):
    body = {"inputs": [{"name": "input", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}]}
    return requests.post(uri, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_predictions_are_the_librarys_own(mission, deployed, held_back):
    answer = infer(deployed["scoring_uri"], key_of(mission), held_back["rows"])
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["outputs"][0]["data"]
    assert len(predictions) == len(held_back["predictions"])
    assert max(abs(got - own) for got, own in zip(predictions, held_back["predictions"])) <= 1e-6


def test_without_the_key_nothing_is_answered(deployed, held_back):
    assert infer(deployed["scoring_uri"], "wrong", held_back["rows"]).status_code in (401, 403)


def test_the_command_line_asks_the_endpoint(mission, deployed):
    said = mission.lathe("online-endpoint", "invoke", "-n", "cancer", "--request-file", "request.json")
    assert [round(value) for value in said.json()["outputs"][0]["data"]] == [1, 0, 1, 1]


def test_the_examples_own_check_agrees(mission, deployed, held_back):
    file = mission.server.folder / "heldback.json"
    file.write_text(json.dumps(held_back))
    done = subprocess.run([sys.executable, "predict.py", deployed["scoring_uri"], file], cwd=mission.folder,
                          input=key_of(mission), capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_predictions_go_on_while_the_server_is_away(mission, deployed, held_back):
    key = key_of(mission)
    mission.server.kill9()
    try:
        assert infer(deployed["scoring_uri"], key, held_back["rows"]).status_code == 200
    finally:
        mission.server.restart()
    assert infer(deployed["scoring_uri"], key, held_back["rows"]).status_code == 200
    wait_for(lambda: mission.server.get("/readyz").status_code == 200)
