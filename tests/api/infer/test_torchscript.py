"""TorchScript in workers: by the Open Inference Protocol and by JSON, and what is refused."""

import subprocess

import pytest

from data_plane import DataPlane, digest_of, endpoint
from python_workers import log_of, python_of
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

SAVE = """
import sys
import torch


class Affine(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.5, 0.0]]))
            self.layer.bias.copy_(torch.tensor([10.0, 0.0]))

    def forward(self, x):
        return self.layer(x)


class Two(torch.nn.Module):
    def forward(self, left, right):
        return left + right, left[0]


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(4, 2)
        with torch.no_grad():
            self.table.weight.copy_(torch.arange(8.0).reshape(4, 2))

    def forward(self, tokens):
        return self.table(tokens)


folder = sys.argv[1]
for made in (Affine(), Two(), Words()):
    torch.jit.save(torch.jit.script(made), f"{folder}/{type(made).__name__.lower()}.pt")
torch.save(Affine().state_dict(), f"{folder}/weights.pt")
"""


def deployment_of(path):
    files = [{"path": path.name, "sha256": digest_of(path), "size": path.stat().st_size}]
    slow = {"request_timeout_ms": 60000, "max_queue_wait_ms": 60000}  # sanitizers, on a loaded machine
    return {"name": "blue", "model": {"name": path.stem, "version": "1", "format": "torchscript", "folder": str(path.parent),
                                      "file": path.name, "files": files, "python": python_of(**slow)}}  # fmt: skip


@pytest.fixture(scope="module")
def plane():
    pytest.importorskip("torch")
    with DataPlane() as running:
        script = running.folder / "save.py"  # torch.jit.script reads a file
        script.write_text(SAVE)
        subprocess.run(["/usr/bin/python3", script, running.models], check=True, timeout=120)
        names = ("affine", "two", "words", "weights")
        running.desire(*(endpoint(name, [deployment_of(running.models / f"{name}.pt")]) for name in names), wait=False)
        running.deployed = running.reached(limit_s=180)
        yield running


def outputs_of(answer):
    assert answer.status_code == 200, answer.text
    return {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in answer.json()["outputs"]}


def test_a_tensor_goes_in_and_comes_out(plane):
    expected = {"OUTPUT__0": ("FP32", [2, 2], [24, 1, 10, 0])}
    for name, type_ in (("x", "FP32"), ("INPUT__0", "FP64")):
        assert outputs_of(plane.infer("affine", {name: (type_, [2, 3], [1, 2, 3, 0, 0, 0])})) == expected
    told = plane.get("/v2/models/affine").json()
    assert told["platform"] == "python_torchscript"
    assert [each["name"] for each in told["inputs"]] == ["x"]


def test_several_go_by_their_arguments_names_or_by_tritons(plane):
    expected = {"OUTPUT__0": ("FP32", [2, 1], [4, 6]), "OUTPUT__1": ("FP32", [1], [1])}
    for left, right in (("left", "right"), ("INPUT__0", "INPUT__1")):
        given = {right: ("FP32", [2, 1], [3, 4]), left: ("FP32", [2, 1], [1, 2])}
        assert outputs_of(plane.infer("two", given)) == expected


def test_json_s_whole_numbers_are_what_the_model_wants(plane):
    answer = plane.post("/endpoints/affine/invocations", json={"inputs": [[1, 2, 3]]})
    assert (answer.status_code, answer.json()) == (200, {"predictions": [[24, 1]]}), answer.text
    answer = plane.post("/endpoints/words/invocations", json={"instances": [[3, 0]]})
    assert (answer.status_code, answer.json()) == (200, {"predictions": [[[6, 7], [0, 1]]]}), answer.text


def test_what_does_not_fit_is_refused(plane):
    for document, said in (({"inputs": {"left": [1.0]}}, 'the input "right" is missing'),
                           ({"inputs": {"left": [1.0], "up": [1.0]}}, 'there is no input "up"'),
                           ({"inputs": {"left": [1.0], "right": ["a"]}}, 'input "right": expected numbers')):  # fmt: skip
        answer = plane.post("/endpoints/two/invocations", json=document)
        assert answer.status_code == 400 and said in answer.json()["error"], answer.text
    answer = plane.post("/endpoints/affine/invocations", json={"inputs": [[1.0, 2.0]]})
    reason = "mat1 and mat2 shapes cannot be multiplied (1x2 and 3x2)"
    assert (answer.status_code, answer.json()["error"]) == (424, f"the model failed on this input: {reason}")
    assert reason in log_of(plane, "affine.blue")
    answer = plane.infer("affine", {"x": ("BOOL", [1, 3], [True, False, True])})
    assert answer.status_code == 424 and "the model failed on this input: " in answer.json()["error"], answer.text


def test_saved_weights_are_no_torchscript(plane):
    state = plane.deployed["weights.blue"]
    assert state["state"] == "failed" and "no TorchScript" in state["error"] and "torch.jit.save" in state["error"]
