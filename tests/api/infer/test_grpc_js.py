"""gRPC's own client for JavaScript, unmodified, against our .proto."""

import json
import os
import shutil
import subprocess

import pytest

import onnx_file
from certificates import make_certificate
from data_plane import KEY, DataPlane, deployment, endpoint
from lathe_server import ROOT, bin_folder

MODULES = bin_folder().parent / "node" / "node_modules"
pytestmark = pytest.mark.skipif(not (MODULES / "@grpc/grpc-js").is_dir() or not shutil.which("node"),
                                reason="packaging/node_clients.sh has not installed grpc-js")  # fmt: skip


def ask(plane, *certificate):
    plane.desire(endpoint("e", [deployment("blue", onnx_file.linear(plane.models / "m.onnx"), "7", "onnx")]))
    done = subprocess.run(["node", ROOT / "tests/node/client.js", ROOT / "proto/inference.proto", plane.grpc, KEY, *certificate],
                          env={**os.environ, "NODE_PATH": str(MODULES)}, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["live"] and seen["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    typed = seen["typed"]
    assert (typed["model_name"], typed["model_version"], typed["id"]) == ("e", "7", "mine")
    assert typed["outputs"][0]["contents"]["fp32_contents"] == [14.5] and seen["raw"] == 14.5
    assert seen["packed"] == 50_000 and seen["together"]
    assert seen["wrong"]["code"] == 3 and "inputs" in seen["wrong"]["details"]
    assert (seen["nobody"], seen["key"]) == (5, 7)
    first, wrong, last = seen["stream"]["seen"]
    assert (first, last, seen["stream"]["code"]) == ("a", "b", 0) and "inputs" in wrong


def test_grpc_js_by_a_plain_channel(plane):
    ask(plane)


def test_grpc_js_by_tls(tmp_path):
    certificate, key = make_certificate(tmp_path, "shown")
    with DataPlane("--tls-certificate", certificate, "--tls-key", key) as plane:
        ask(plane, certificate)
