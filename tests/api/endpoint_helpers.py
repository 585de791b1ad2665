"""What tests of endpoints share."""

import hashlib

ENDPOINTS = "/api/v1/online-endpoints"


def register(server, name, path):
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    server.put(f"/api/v1/blobs/{digest}", data=content).raise_for_status()
    files = [{"path": path.name, "sha256": digest, "size": len(content), "executable": False}]
    tree = server.post("/api/v1/trees", json={"files": files}).json()["digest"]
    made = server.post("/api/v1/models", json={"name": name, "path": f"tree:{tree}/{path.name}"})
    assert made.status_code == 201, made.text
    return f"azureml:{name}:{made.json()['version']}"


def make_endpoint(server, name, **more):
    made = server.post(ENDPOINTS, json={"name": name, "auth_mode": "key", **more})
    assert made.status_code == 201, made.text
    return made.json()


def deploy(server, endpoint, name, model, query="", **more):
    document = {"name": name, "endpoint_name": endpoint, "model": model, "instance_count": 1, **more}
    made = server.post(f"{ENDPOINTS}/{endpoint}/deployments{query}", json=document)
    assert made.status_code == 201, made.text
    return made.json()


def primary_key(server, endpoint):
    return server.get(f"{ENDPOINTS}/{endpoint}/credentials").json()["primaryKey"]
