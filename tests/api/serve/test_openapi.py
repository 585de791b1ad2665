"""The API's description: complete, and never changed by surprise."""

import json
import os
import pathlib

import requests

COMMITTED = pathlib.Path(__file__).resolve().parents[3] / "docs" / "openapi.json"


def test_the_committed_description_is_the_servers_own(server):
    document = requests.get(server.url + "/api/v1/openapi.json", timeout=30).json()
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    if os.environ.get("LATHE_UPDATE"):
        COMMITTED.write_text(text)
    assert text == COMMITTED.read_text(), (
        "the API has changed: if that is meant, run LATHE_UPDATE=1 /usr/bin/python3 -m pytest tests/api/serve/test_openapi.py "
        "and commit docs/openapi.json with the change")


def test_every_reference_leads_somewhere_and_every_id_is_there_once(server):
    document = requests.get(server.url + "/api/v1/openapi.json", timeout=30).json()
    assert document["openapi"] == "3.1.0"
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))

    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference
