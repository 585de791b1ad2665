"""MLflow's REST as its clients speak it: JSON posts, query gets, errors with a code."""


class Rest:
    """Calls below /api/2.0/mlflow: answers the JSON, or with `code=` checks the error and answers its message."""

    def __init__(self, server, root="/api/2.0/mlflow"):
        self.server = server
        self.root = root

    def call(self, method, path, code=None, **options):
        answer = self.server.request(method, f"{self.root}/{path}", **options)
        body = answer.json()
        if code is None:
            assert answer.status_code == 200, (path, answer.status_code, body)
            return body
        status, _, name = code.partition(" ")
        assert (str(answer.status_code), body["error_code"]) == (status, name), (path, answer.status_code, body)
        return body["message"]

    def post(self, path, body=None, code=None):
        return self.call("POST", path, code, json=body or {})

    def patch(self, path, body, code=None):
        return self.call("PATCH", path, code, json=body)

    def delete(self, path, body=None, code=None):
        return self.call("DELETE", path, code, json=body or {})

    def get(self, path, /, code=None, **query):
        return self.call("GET", path, code, params=query)

    def experiment(self, name, **fields):
        return self.post("experiments/create", {"name": name, **fields})["experiment_id"]

    def run(self, experiment_id="0", **fields):
        body = {"experiment_id": experiment_id, "start_time": 1, **fields}
        return self.post("runs/create", body)["run"]["info"]["run_id"]

    def run_data(self, run_id):
        """The run's metrics, parameters and tags as dictionaries."""
        data = self.get("runs/get", run_id=run_id)["run"]["data"]
        return [{item["key"]: item["value"] for item in data.get(kind, [])} for kind in ("metrics", "params", "tags")]

    def metric(self, run_id, key, value, timestamp=1, step=0, code=None):
        body = {"run_id": run_id, "key": key, "value": value, "timestamp": timestamp, "step": step}
        return self.post("runs/log-metric", body, code)

    def search(self, experiment_ids, filter="", **fields):
        """The run ids that a search gives, all pages."""
        found, token = [], None
        while True:
            body = {"experiment_ids": experiment_ids, "filter": filter, **fields}
            page = self.post("runs/search", {**body, "page_token": token} if token else body)
            found += [run["info"]["run_id"] for run in page.get("runs", [])]
            token = page.get("next_page_token")
            if not token:
                return found


INVALID = "400 INVALID_PARAMETER_VALUE"
EXISTS = "400 RESOURCE_ALREADY_EXISTS"
UNKNOWN = "404 RESOURCE_DOES_NOT_EXIST"
DENIED = "403 PERMISSION_DENIED"
