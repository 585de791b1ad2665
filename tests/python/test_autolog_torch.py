"""torch: what autolog() sees of a plain loop, and modules stored as ONNX."""

import json

import pytest

pytest.importorskip("torch")

LOOP = """
import torch
torch.manual_seed(0)
rows = torch.rand(32, 3); labels = rows.sum(dim=1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
def train(count, optimizer, before=None):
    losses = []
    for step in range(count):
        if before: before(step)
        optimizer.zero_grad()
        loss = ((model(rows) - labels) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
"""


def test_a_plain_loop_logs_its_optimizer_and_the_mean_loss_of_every_few_steps(script, recorder):
    process = script.run("lathe.autolog(log_every_n_step=4)\n" + LOOP + """
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
def slower(step): optimizer.param_groups[0]["lr"] = 0.01 if step < 5 else 0.001
losses = train(10, optimizer, slower)
means = [sum(losses[i:i + 4]) / len(losses[i:i + 4]) for i in range(0, 10, 4)]
lathe.log_dict(means, "expected.json")
""")
    assert process.err == ""
    run, means = recorder.of("job-1"), json.loads(recorder.file("expected.json"))
    assert run["params"]["optimizer_name"] == "Adam" and run["params"]["lr"] == "0.01"
    loss = [(step, value) for key, value, step in run["metrics"] if key == "loss"]
    assert [step for step, _ in loss] == [4, 8, 10]  # what was left at the end included
    assert [value for _, value in loss] == pytest.approx(means, rel=1e-5)
    assert [(value, step) for key, value, step in run["metrics"] if key == "learning_rate"] == [(0.01, 4), (0.001, 8)]


def test_disable_puts_torch_back(script, recorder):
    script.run(LOOP + """
before = torch.Tensor.backward, torch.optim.Optimizer.__init__
lathe.autolog()
lathe.autolog(disable=True)
assert (torch.Tensor.backward, torch.optim.Optimizer.__init__) == before
train(3, torch.optim.SGD(model.parameters(), lr=0.1))
""")
    assert recorder.metrics() == []


def test_a_module_is_stored_as_onnx_and_as_mlflow_stores_it(script, recorder):
    process = script.run(LOOP + """
model.train()
lathe.log_model(model, "net", input_example=rows[:2], registered_model_name="net")
assert model.training
""")
    assert process.err == ""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(recorder.file("/net/model.onnx")).graph
    shapes = [[size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
              for each in (*graph.input, *graph.output)]
    assert shapes == [["batch", 3], ["batch", 1]]
    mlmodel = recorder.file("/net/MLmodel").decode()
    assert "onnx:" in mlmodel and "pytorch:" in mlmodel and "mlflow.pytorch" in mlmodel
    assert r'{\"dtype\": \"float32\", \"shape\": [-1, 3]}' in mlmodel
    assert recorder.file("/net/data/pickle_module_info.txt") == b"mlflow.pytorch.pickle_module"


def test_a_module_with_two_inputs_names_them_as_forward_does(script, recorder):
    script.run("""
import torch
class Two(torch.nn.Module):
    def forward(self, left, right): return left + right, left - right
lathe.log_model(Two(), "two", input_example={"right": torch.ones(2, 3), "left": torch.zeros(2, 3)})
""")
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(recorder.file("/two/model.onnx")).graph
    assert [each.name for each in graph.input] == ["left", "right"]
    assert [each.name for each in graph.output] == ["output_0", "output_1"]
    assert json.loads(recorder.file("/two/input_example.json")) == {"left": [[0.0] * 3] * 2, "right": [[1.0] * 3] * 2}


@pytest.mark.parametrize("call, says", [
    ('lathe.log_model(torch.nn.Linear(2, 1), "net")', "input_example=batch"),
    ('lathe.log_model(torch.nn.Linear(2, 1), "net", input_example={"x": torch.ones(1, 2)})', "no argument 'x'"),
])
def test_what_cannot_be_exported_says_why(script, recorder, call, says):
    process = script.run(f"import torch\ntry: {call}\nexcept lathe.LatheError as error: print(error)")
    assert says in process.out and recorder.artifacts == {}
