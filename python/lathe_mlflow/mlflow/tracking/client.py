"""MlflowClient: runs, experiments and the registry by their ids and names. What it lacks says so."""

import posixpath
import time

from lathe import artifacts, session
from lathe.buffer import now_ms
from lathe.client import Refused
from lathe.search import find_runs
from mlflow._missing import explain
from mlflow.entities import (
    Experiment, FileInfo, Metric, ModelVersion, PagedList, RegisteredModel, Run, RunStatus, ViewType,
)
from mlflow.exceptions import MlflowException, translated


class MlflowClient:
    """Speaks to the job's server; other addresses are not taken."""

    def __init__(self, tracking_uri=None, registry_uri=None):
        import mlflow

        mlflow.set_tracking_uri(tracking_uri)
        self._client = session.client()

    def __getattr__(self, name):
        raise AttributeError(explain(f"MlflowClient.{name}"))

    # Runs

    def get_run(self, run_id):
        session.flush_all()
        return Run(self._client.get("runs/get", {"run_id": run_id})["run"])

    def get_parent_run(self, run_id):
        parent = self.get_run(run_id).data.tags.get("mlflow.parentRunId")
        return self.get_run(parent) if parent else None

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        return Run(session.create(str(experiment_id), run_name, tags, start_time=start_time).info())

    def set_terminated(self, run_id, status="FINISHED", end_time=None):
        name = status if isinstance(status, str) else RunStatus.to_string(status)
        session.close_run(run_id)
        self._client.post("runs/update", {"run_id": run_id, "status": name, "end_time": end_time or now_ms()})

    def update_run(self, run_id, status=None, name=None):
        body = {"run_id": run_id, **({"status": status} if status else {}), **({"run_name": name} if name else {})}
        self._client.post("runs/update", body)

    def delete_run(self, run_id):
        self._client.post("runs/delete", {"run_id": run_id})

    def log_metric(self, run_id, key, value, timestamp=None, step=None, synchronous=None, **_):
        session.open_run(run_id).log_metric(key, value, step, timestamp)

    def log_param(self, run_id, key, value, synchronous=None):
        session.open_run(run_id).log_params({key: value})
        return value

    def set_tag(self, run_id, key, value, synchronous=None):
        session.open_run(run_id).set_tags({key: value})

    def delete_tag(self, run_id, key):
        session.flush_all()
        self._client.post("runs/delete-tag", {"run_id": run_id, "key": key})

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        run = session.open_run(run_id)
        for metric in metrics:
            run.log_metric(metric.key, metric.value, metric.step, metric.timestamp)
        run.log_params({param.key: param.value for param in params})
        run.set_tags({tag.key: tag.value for tag in tags})

    def log_artifact(self, run_id, local_path, artifact_path=None):
        session.open_run(run_id).log_artifact(local_path, artifact_path)

    def log_artifacts(self, run_id, local_dir, artifact_path=None):
        session.open_run(run_id).log_artifacts(local_dir, artifact_path)

    def log_text(self, run_id, text, artifact_file):
        session.open_run(run_id).log_bytes(text.encode(), artifact_file)

    def log_dict(self, run_id, dictionary, artifact_file):
        import mlflow

        mlflow.log_dict(dictionary, artifact_file, run_id)

    def list_artifacts(self, run_id, path=None):
        root = artifacts.resolve(self._client, f"runs:/{run_id}")
        found = self._client.list_files(posixpath.join(root, path or "").rstrip("/"))
        return [FileInfo(posixpath.join(path or "", posixpath.basename(each["path"])), bool(each.get("is_dir")),
                         each.get("file_size")) for each in found]

    def download_artifacts(self, run_id, path, dst_path=None):
        return artifacts.download(self._client, f"runs:/{run_id}/{path}".rstrip("/"), dst_path)

    def get_metric_history(self, run_id, key):
        session.flush_all()
        points, token = [], ""
        while token is not None:
            query = {"run_id": run_id, "metric_key": key, "max_results": 25_000, "page_token": token}
            answer = self._client.get("metrics/get-history", query)
            points += [Metric(key, point["value"], int(point["timestamp"]), int(point.get("step", 0)))
                       for point in answer.get("metrics", ())]
            token = answer.get("next_page_token") or None
        return points

    def search_runs(self, experiment_ids, filter_string="", run_view_type=1, max_results=1000, order_by=None,
                    page_token=None):
        """All that were asked for at once: there is no page token."""
        session.flush_all()
        ids = [experiment_ids] if isinstance(experiment_ids, str) else experiment_ids
        found = find_runs(self._client, ids, filter_string, order_by, max_results, ViewType.to_string(run_view_type))
        return PagedList(Run(run) for run in found)

    # Experiments

    def get_experiment(self, experiment_id):
        return Experiment(self._client.get("experiments/get", {"experiment_id": experiment_id})["experiment"])

    def get_experiment_by_name(self, name):
        try:
            found = self._client.get("experiments/get-by-name", {"experiment_name": name})
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return Experiment(found["experiment"])

    def create_experiment(self, name, artifact_location=None, tags=None):
        body = {"name": name, "tags": [{"key": key, "value": str(value)} for key, value in (tags or {}).items()]}
        if artifact_location:
            body["artifact_location"] = artifact_location
        return self._client.post("experiments/create", body, repeatable=False)["experiment_id"]

    def delete_experiment(self, experiment_id):
        self._client.post("experiments/delete", {"experiment_id": experiment_id})

    def set_experiment_tag(self, experiment_id, key, value):
        self._client.post("experiments/set-experiment-tag",
                          {"experiment_id": experiment_id, "key": key, "value": str(value)})

    def search_experiments(self, view_type=1, max_results=1000, filter_string=None, order_by=None, page_token=None):
        return self._page("experiments/search", "experiments", Experiment, max_results, filter_string, order_by,
                          page_token, view_type=ViewType.to_string(view_type))

    # The registry

    def create_registered_model(self, name, tags=None, description=None):
        body = {"name": name, "description": description or "",
                "tags": [{"key": key, "value": str(value)} for key, value in (tags or {}).items()]}
        return RegisteredModel(self._client.post("registered-models/create", body)["registered_model"])

    def get_registered_model(self, name):
        return RegisteredModel(self._client.get("registered-models/get", {"name": name})["registered_model"])

    def search_registered_models(self, filter_string=None, max_results=100, order_by=None, page_token=None):
        return self._page("registered-models/search", "registered_models", RegisteredModel, max_results, filter_string,
                          order_by, page_token)

    def create_model_version(self, name, source, run_id=None, tags=None, run_link=None, description=None,
                             await_creation_for=300, **_):
        body = {"name": name, "source": source, "description": description or "",
                "tags": [{"key": key, "value": str(value)} for key, value in (tags or {}).items()]}
        if run_id:
            body["run_id"] = run_id
        version = ModelVersion(self._client.post("model-versions/create", body, repeatable=False)["model_version"])
        return self._ready(version, await_creation_for)

    def get_model_version(self, name, version):
        query = {"name": name, "version": str(version)}
        return ModelVersion(self._client.get("model-versions/get", query)["model_version"])

    def get_model_version_by_alias(self, name, alias):
        query = {"name": name, "alias": alias}
        return ModelVersion(self._client.get("registered-models/alias", query)["model_version"])

    def get_latest_versions(self, name, stages=None):
        body = {"name": name, **({"stages": list(stages)} if stages else {})}
        found = self._client.post("registered-models/get-latest-versions", body)
        return [ModelVersion(each) for each in found.get("model_versions", ())]

    def get_model_version_download_uri(self, name, version):
        query = {"name": name, "version": str(version)}
        return self._client.get("model-versions/get-download-uri", query)["artifact_uri"]

    def search_model_versions(self, filter_string=None, max_results=10_000, order_by=None, page_token=None):
        return self._page("model-versions/search", "model_versions", ModelVersion, max_results, filter_string, order_by,
                          page_token)

    def set_registered_model_alias(self, name, alias, version):
        self._client.post("registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    def set_registered_model_tag(self, name, key, value):
        self._client.post("registered-models/set-tag", {"name": name, "key": key, "value": str(value)})

    def set_model_version_tag(self, name, version=None, key=None, value=None):
        body = {"name": name, "version": str(version), "key": key, "value": str(value)}
        self._client.post("model-versions/set-tag", body)

    def transition_model_version_stage(self, name, version, stage, archive_existing_versions=False):
        body = {"name": name, "version": str(version), "stage": stage,
                "archive_existing_versions": archive_existing_versions}
        return ModelVersion(self._client.post("model-versions/transition-stage", body)["model_version"])

    def register(self, model_uri, name, await_registration_for=300, tags=None):
        """What mlflow.register_model does: makes the model if it is new, and a version of it from these files."""
        session.flush_all()
        run_id = model_uri.removeprefix("runs:/").partition("/")[0] if model_uri.startswith("runs:/") else None
        source = f"mlflow-artifacts:/{artifacts.resolve(self._client, model_uri)}"
        try:
            self._client.post("registered-models/create", {"name": name})
        except Refused as error:
            if error.code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
                raise
        version = self.create_model_version(name, source, run_id, tags, await_creation_for=await_registration_for)
        print(f"Registered model '{name}' version {version.version}", flush=True)
        return version

    def _ready(self, version, patience):
        give_up, pause = time.monotonic() + (patience or 0), 0.02
        while version.status == "PENDING_REGISTRATION" and time.monotonic() < give_up:
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
            version = self.get_model_version(version.name, version.version)
        if version.status == "FAILED_REGISTRATION":
            raise MlflowException(f"version {version.version} of model {version.name!r} could not be registered: "
                                  f"{version.status_message}")
        return version

    def _page(self, path, key, kind, max_results, filter_string, order_by, token, **more):
        query = {"max_results": max_results, **more}
        if filter_string:
            query["filter"] = filter_string
        if token:
            query["page_token"] = token
        pairs = [*query.items(), *(("order_by", each) for each in order_by or ())]
        answer = self._client.get(path, pairs)
        return PagedList((kind(each) for each in answer.get(key, ())), answer.get("next_page_token") or None)


for _name, _function in list(vars(MlflowClient).items()):
    if not _name.startswith("_") and callable(_function):
        setattr(MlflowClient, _name, translated(_function))
