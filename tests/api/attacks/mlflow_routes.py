"""MLflow's routes as a table: what each is called with, and who may call it."""

import dataclasses

ROOTS = ("/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0")


@dataclasses.dataclass
class Route:
    """`needs`: read (viewers, and jobs), track (members, and jobs for their own runs), write (members) or administer.

    fields  a call that is good in form. RUN, MODEL (a logged model), VERSION's NAME, and TRACE with its SAID (an
            assessment) and EXPID (its experiment, where no job is) stand for those of the test.
    """

    method: str
    path: str
    needs: str
    fields: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return f"{self.method} {self.path}"


METRIC = {"key": "m", "value": 1, "timestamp": 1}
PAIR = {"key": "k", "value": "v"}
DATASET = {"dataset": {"name": "n", "digest": "d", "source_type": "t", "source": "s"}, "tags": [PAIR]}
MODEL_JSON = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": "RUN"}'

ASSESSMENT = {"assessment_name": "n", "source": {"source_type": "HUMAN", "source_id": "s"}, "rationale": "r",
              "feedback": {"value": 1}, "metadata": {"k": "v"}}  # fmt: skip
TRACE_INFO = {"trace_id": "TRACE", "trace_location": {"mlflow_experiment": {"experiment_id": "EXPID"}}, "state": "OK",
              "request_time": "2026-05-01T12:30:00Z", "execution_duration": "1.5s", "tags": {"k": "v"}, "trace_metadata": {"k": "v"},
              "assessments": [ASSESSMENT]}  # fmt: skip

ROUTES = [
    Route("POST", "experiments/create", "write", {"name": "NEW", "tags": [PAIR]}),
    Route("GET", "experiments/get", "read", {"experiment_id": "0"}),
    Route("GET", "experiments/get-by-name", "read", {"experiment_name": "Default"}),
    Route("GET", "experiments/search", "read", {"filter": "name = 'x'", "max_results": 5, "order_by": "name"}),
    Route("POST", "experiments/search", "read", {"filter": "name = 'x'", "view_type": "ALL", "order_by": ["name"]}),
    Route("POST", "experiments/update", "write", {"experiment_id": "999", "new_name": "NEW"}),
    Route("POST", "experiments/delete", "write", {"experiment_id": "999"}),
    Route("POST", "experiments/restore", "write", {"experiment_id": "999"}),
    Route("POST", "experiments/set-experiment-tag", "write", {"experiment_id": "0", **PAIR}),
    Route("POST", "experiments/delete-experiment-tag", "write", {"experiment_id": "0", "key": "none"}),
    Route("POST", "experiments/search-datasets", "read", {"experiment_ids": ["0"]}),
    Route("POST", "runs/create", "track", {"experiment_id": "0", "run_name": "r", "start_time": 1, "tags": [PAIR]}),
    Route("GET", "runs/get", "read", {"run_id": "RUN"}),
    Route("POST", "runs/update", "track", {"run_id": "RUN", "status": "FINISHED", "end_time": 5, "run_name": "x"}),
    Route("POST", "runs/search", "read", {"experiment_ids": ["0"], "filter": "metrics.m > 1", "max_results": 5,
                                          "order_by": ["metrics.m"], "run_view_type": "ALL"}),  # fmt: skip
    Route("POST", "runs/delete", "write", {"run_id": "GONE"}),
    Route("POST", "runs/restore", "write", {"run_id": "RUN"}),
    Route("POST", "runs/log-metric", "track", {"run_id": "RUN", **METRIC, "step": 1}),
    Route("POST", "runs/log-parameter", "track", {"run_id": "RUN", **PAIR}),
    Route("POST", "runs/set-tag", "track", {"run_id": "RUN", **PAIR}),
    Route("POST", "runs/delete-tag", "track", {"run_id": "RUN", "key": "k"}),
    Route("POST", "runs/log-batch", "track", {"run_id": "RUN", "metrics": [METRIC], "params": [PAIR], "tags": [PAIR]}),
    Route("POST", "runs/log-inputs", "track", {"run_id": "RUN", "datasets": [DATASET], "models": [{"model_id": "MODEL"}]}),
    Route("POST", "runs/outputs", "track", {"run_id": "RUN", "models": [{"model_id": "MODEL", "step": 1}]}),
    Route("POST", "runs/log-model", "track", {"run_id": "RUN", "model_json": MODEL_JSON}),
    Route("GET", "metrics/get-history", "read", {"run_id": "RUN", "metric_key": "m", "max_results": 5}),
    Route("GET", "metrics/get-history-bulk", "read", {"run_id": "RUN", "metric_key": "m", "max_results": 5}),
    Route("GET", "metrics/get-history-bulk-interval", "read", {"run_ids": "RUN", "metric_key": "m", "max_results": 5,
                                                               "start_step": 0, "end_step": 5}),  # fmt: skip
    Route("POST", "logged-models", "track", {"experiment_id": "0", "name": "n", "source_run_id": "RUN", "model_type": "t",
                                             "params": [PAIR], "tags": [PAIR]}),  # fmt: skip
    Route("POST", "logged-models/search", "read", {"experiment_ids": ["0"], "filter": "name = 'x'", "datasets": [{"dataset_name": "d"}],
                                                   "order_by": [{"field_name": "name", "ascending": True}]}),  # fmt: skip
    Route("GET", "logged-models/MODEL", "read"),
    Route("PATCH", "logged-models/MODEL", "track", {"status": 2}),
    Route("DELETE", "logged-models/m-0", "write"),
    Route("POST", "logged-models/MODEL/params", "track", {"params": [PAIR]}),
    Route("PATCH", "logged-models/MODEL/tags", "track", {"tags": [PAIR]}),
    Route("DELETE", "logged-models/MODEL/tags/none", "track"),
    Route("GET", "logged-models/MODEL/artifacts/directories", "read", {"artifact_directory_path": "a"}),
    Route("GET", "logged-models/MODEL/artifacts/files", "read", {"artifact_file_path": "a"}),
    Route("GET", "artifacts/list", "read", {"run_id": "RUN", "path": "a"}),
    Route("POST", "upload-artifact", "track"),
    Route("POST", "registered-models/create", "track", {"name": "NEW", "tags": [PAIR], "description": "d"}),
    Route("GET", "registered-models/get", "read", {"name": "NAME"}),
    Route("GET", "registered-models/search", "read", {"filter": "name = 'x'", "max_results": 5, "order_by": "name"}),
    Route("POST", "registered-models/rename", "write", {"name": "none", "new_name": "NEW"}),
    Route("PATCH", "registered-models/update", "write", {"name": "NAME", "description": "d"}),
    Route("DELETE", "registered-models/delete", "write", {"name": "none"}),
    Route("GET", "registered-models/get-latest-versions", "read", {"name": "NAME", "stages": "None"}),
    Route("POST", "registered-models/get-latest-versions", "read", {"name": "NAME", "stages": ["None"]}),
    Route("POST", "registered-models/set-tag", "write", {"name": "NAME", **PAIR}),
    Route("DELETE", "registered-models/delete-tag", "write", {"name": "NAME", "key": "k"}),
    Route("POST", "registered-models/alias", "write", {"name": "NAME", "alias": "a", "version": "1"}),
    Route("GET", "registered-models/alias", "read", {"name": "NAME", "alias": "a"}),
    Route("DELETE", "registered-models/alias", "write", {"name": "NAME", "alias": "none"}),
    Route("POST", "model-versions/create", "track", {"name": "NAME", "source": "runs:/RUN/m", "run_id": "RUN", "run_link": "l",
                                                     "description": "d", "tags": [PAIR]}),  # fmt: skip
    Route("GET", "model-versions/get", "read", {"name": "NAME", "version": "1"}),
    Route("GET", "model-versions/search", "read", {"filter": "name = 'x'", "max_results": 5, "order_by": "name"}),
    Route("PATCH", "model-versions/update", "write", {"name": "NAME", "version": "1", "description": "d"}),
    Route("DELETE", "model-versions/delete", "write", {"name": "NAME", "version": "99"}),
    Route("POST", "model-versions/transition-stage", "write", {"name": "NAME", "version": "1", "stage": "Staging",
                                                               "archive_existing_versions": False}),  # fmt: skip
    Route("GET", "model-versions/get-download-uri", "read", {"name": "NAME", "version": "1"}),
    Route("POST", "model-versions/set-tag", "write", {"name": "NAME", "version": "1", **PAIR}),
    Route("DELETE", "model-versions/delete-tag", "write", {"name": "NAME", "version": "1", "key": "k"}),
    Route("POST", "traces", "track", {"trace": {"trace_info": TRACE_INFO}}),
    Route("GET", "traces/TRACE", "read"),
    Route("GET", "traces/get", "read", {"trace_id": "TRACE", "allow_partial": "true"}),
    Route("GET", "traces/batchGet", "read", {"trace_ids": "TRACE"}),
    Route("POST", "traces/batchGetInfos", "read", {"trace_ids": ["TRACE"]}),
    Route("POST", "traces/search", "read", {"locations": [{"mlflow_experiment": {"experiment_id": "EXPID"}}], "filter": "name = 'x'",
                                            "max_results": 5, "order_by": ["timestamp"]}),  # fmt: skip
    Route("POST", "traces/delete-traces", "write", {"experiment_id": "EXPID", "request_ids": ["tr-none"]}),
    Route("PATCH", "traces/TRACE/tags", "track", PAIR),
    Route("DELETE", "traces/TRACE/tags", "track", {"key": "none"}),
    Route("POST", "traces/link-to-run", "track", {"run_id": "RUN", "trace_ids": ["TRACE"]}),
    Route("POST", "traces/TRACE/assessments", "track", {"assessment": ASSESSMENT}),
    Route("GET", "traces/TRACE/assessments/SAID", "read"),
    Route("PATCH", "traces/TRACE/assessments/SAID", "track", {"assessment": ASSESSMENT, "update_mask": "rationale"}),
    Route("DELETE", "traces/TRACE/assessments/none", "track"),
    Route("GET", "get-trace-artifact", "read", {"request_id": "TRACE"}),
    Route("GET", "server-info", "read"),
    Route("POST", "users/create", "administer", {"username": "admin", "password": "long enough to be one"}),
    Route("GET", "users/list", "administer"),
    Route("PATCH", "users/update-admin", "administer", {"username": "nobody", "is_admin": False}),
    Route("DELETE", "users/delete", "administer", {"username": "nobody"}),
    Route("POST", "experiments/permissions/create", "administer", {"experiment_id": "0", "username": "nobody", "permission": "READ"}),
    Route("PATCH", "registered-models/permissions/update", "administer", {"name": "m", "username": "nobody", "permission": "READ"}),
    Route("DELETE", "experiments/permissions/delete", "administer", {"experiment_id": "0", "username": "nobody"}),
]

# Beside mlflow/, and without a root before them.
ARTIFACTS = [
    Route("GET", "/mlflow-artifacts/artifacts", "read", {"path": "0/RUN/artifacts"}),
    Route("GET", "/mlflow-artifacts/artifacts/0/RUN/artifacts/a", "read"),
    Route("PUT", "/mlflow-artifacts/artifacts/0/RUN/artifacts/a", "track"),
    Route("DELETE", "/mlflow-artifacts/artifacts/0/RUN/artifacts/none", "track"),
    Route("GET", "/mlflow-artifacts/artifacts/EXPID/traces/TRACE/artifacts/traces.json", "read"),
    Route("PUT", "/mlflow-artifacts/artifacts/EXPID/traces/TRACE/artifacts/a", "track"),
    Route("DELETE", "/mlflow-artifacts/artifacts/EXPID/traces/TRACE/artifacts/none", "track"),
]
ROOTLESS = [
    Route("GET", "/get-artifact", "read", {"run_id": "RUN", "path": "a"}),
    Route("GET", "/model-versions/get-artifact", "read", {"name": "NAME", "version": "1", "path": "a"}),
    Route("POST", "/v1/traces", "track", {"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "1" * 32, "spanId": "1" * 16, "name": "n", "startTimeUnixNano": "1"}]}]}]}),  # fmt: skip
]

# What MLflow has and Lathe does not: JSON says so, below both prefixes.
NOT_SPOKEN = [
    ("GET", "webhooks"), ("POST", "webhooks"), ("GET", "webhooks/1"), ("PATCH", "webhooks/1"), ("DELETE", "webhooks/1"),
    ("POST", "webhooks/1/test"), ("POST", "datasets/create"), ("GET", "datasets/search"), ("POST", "datasets/search"),
    ("GET", "datasets/d-1"), ("DELETE", "datasets/d-1"), ("GET", "datasets/d-1/records"), ("POST", "datasets/d-1/records"),
    ("PATCH", "datasets/d-1/tags"), ("POST", "prompt-optimization/jobs"), ("GET", "prompt-optimization/jobs/1"),
    ("POST", "scorers/register"), ("GET", "scorers/list"), ("GET", "scorers/get"), ("DELETE", "scorers/delete"),
    ("GET", "gateway/endpoints/list"), ("POST", "gateway/secrets/create"), ("GET", "gateway-proxy"), ("POST", "gateway-proxy"),
    ("POST", "runs/create-promptlab-run"), ("GET", "workspaces"), ("POST", "issues/search"), ("GET", "ui-telemetry"),
    ("POST", "demo/generate"), ("GET", "assistant/config"), ("POST", "scorer/invoke"),
    ("GET", "traces"), ("PATCH", "traces/tr-1"), ("GET", "traces/tr-1/info"), ("POST", "traces/metrics"), ("POST", "traces/link-prompts"),
    ("POST", "traces/calculate-filter-correlation"),
    ("GET", "experiments/list"), ("GET", "runs/nothing"), ("POST", "nothing/at/all"),
]  # fmt: skip
