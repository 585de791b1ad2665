"""Clients that want the same thing at the same moment: one gets it, the others are told so, and nothing is there twice."""

import threading

import requests

CLIENTS = 8


def at_once(server, requests_of):
    """What `requests_of(client)`, (path, body), gets from each client, sent together: (status, JSON)."""
    answers = [None] * CLIENTS
    start = threading.Barrier(CLIENTS)

    def send(client):
        path, body = requests_of(client)
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {server.token}"
            session.get(f"{server.url}/healthz", timeout=60)  # connected before the start
            start.wait(60)
            answer = session.post(f"{server.url}/api/2.0/mlflow/{path}", json=body, timeout=60)
            answers[client] = (answer.status_code, answer.json())

    threads = [threading.Thread(target=send, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def one_wins(answers, code):
    won = [body for status, body in answers if status == 200]
    lost = [(status, body["error_code"]) for status, body in answers if status != 200]
    assert len(won) == 1 and lost == [(400, code)] * (CLIENTS - 1), answers
    return won[0]


def test_one_experiment_has_a_name(server, rest):
    won = one_wins(at_once(server, lambda _: ("experiments/create", {"name": "wanted"})), "RESOURCE_ALREADY_EXISTS")
    found = rest.get("experiments/get-by-name", experiment_name="wanted")["experiment"]
    assert found["experiment_id"] == won["experiment_id"]


def test_one_registered_model_has_a_name(server, rest):
    request = lambda client: ("registered-models/create", {"name": "wanted", "description": str(client)})
    won = one_wins(at_once(server, request), "RESOURCE_ALREADY_EXISTS")
    assert rest.get("registered-models/get", name="wanted") == won


def test_each_version_has_a_number_of_its_own(server, rest):
    rest.post("registered-models/create", {"name": "numbered"})
    run = rest.run()
    body = {"name": "numbered", "source": f"mlflow-artifacts:/0/{run}/artifacts/model", "run_id": run}
    answers = at_once(server, lambda _: ("model-versions/create", body))
    numbers = sorted(int(body["model_version"]["version"]) for status, body in answers if status == 200)
    assert numbers == list(range(1, CLIENTS + 1))


def test_an_alias_leads_to_one_version(server, rest):
    rest.post("registered-models/create", {"name": "aliased"})
    run = rest.run()
    body = {"name": "aliased", "source": f"mlflow-artifacts:/0/{run}/artifacts/model", "run_id": run}
    for _ in range(CLIENTS):
        rest.post("model-versions/create", body)
    answers = at_once(server, lambda client: ("registered-models/alias",
                                              {"name": "aliased", "alias": "best", "version": str(client + 1)}))  # fmt: skip
    assert [status for status, _ in answers] == [200] * CLIENTS
    aliases = rest.get("registered-models/get", name="aliased")["registered_model"]["aliases"]
    best = rest.get("registered-models/alias", name="aliased", alias="best")["model_version"]["version"]
    assert aliases == [{"alias": "best", "version": best}]
    held = [version for version in range(1, CLIENTS + 1)
            if rest.get("model-versions/get", name="aliased", version=str(version))["model_version"].get("aliases")]  # fmt: skip
    assert held == [int(best)]


def test_a_parameter_gets_one_value(server, rest):
    run = rest.run()
    answers = at_once(server, lambda client: ("runs/log-parameter", {"run_id": run, "key": "p", "value": str(client)}))
    one_wins(answers, "INVALID_PARAMETER_VALUE")
    winner = [client for client, (status, _) in enumerate(answers) if status == 200]
    assert rest.run_data(run)[1] == {"p": str(winner[0])}
