"""What the server answers, as objects with MLflow's attributes."""

from types import SimpleNamespace


class RunStatus:
    RUNNING, SCHEDULED, FINISHED, FAILED, KILLED = 1, 2, 3, 4, 5
    _NAMES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}

    @classmethod
    def to_string(cls, status):
        return cls._NAMES[status]

    @classmethod
    def from_string(cls, name):
        return next(number for number, text in cls._NAMES.items() if text == name)


class ViewType:
    ACTIVE_ONLY, DELETED_ONLY, ALL = 1, 2, 3

    @classmethod
    def to_string(cls, view):
        return view if isinstance(view, str) else {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}[view]


class Metric(SimpleNamespace):
    def __init__(self, key, value, timestamp, step=0, **more):
        super().__init__(key=key, value=float(value), timestamp=timestamp, step=step)


class Param(SimpleNamespace):
    def __init__(self, key, value):
        super().__init__(key=key, value=value)


class RunTag(SimpleNamespace):
    def __init__(self, key, value):
        super().__init__(key=key, value=value)


class RunInfo(SimpleNamespace):
    def __init__(self, info):
        times = {name: int(info[name]) if info.get(name) else None for name in ("start_time", "end_time")}
        optional = dict.fromkeys(("run_name", "user_id", "status", "artifact_uri", "lifecycle_stage"))
        super().__init__(**{**optional, **info, **times, "run_uuid": info["run_id"]})


class RunData(SimpleNamespace):
    def __init__(self, data):
        super().__init__(metrics={each["key"]: float(each.get("value", 0)) for each in data.get("metrics", ())},
                         params={each["key"]: each.get("value", "") for each in data.get("params", ())},
                         tags={each["key"]: each.get("value", "") for each in data.get("tags", ())})


class Run:
    def __init__(self, answer):
        self.info = RunInfo(answer["info"])
        self.data = RunData(answer.get("data", {}))
        self.inputs = answer.get("inputs", {})

    def to_dictionary(self):
        return {"info": vars(self.info), "data": vars(self.data)}

    def __repr__(self):
        return f"<Run: info={self.info}, data={self.data}>"


class _Named(SimpleNamespace):
    """An answer's fields, with its tags as a dict; fields that the server left out are None."""

    _fields = ()

    def __init__(self, answer):
        tags = {each["key"]: each.get("value", "") for each in answer.get("tags", ())}
        super().__init__(**{**dict.fromkeys(self._fields), **answer, "tags": tags})


class Experiment(_Named):
    _fields = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time")


class ModelVersion(_Named):
    _fields = ("name", "version", "creation_timestamp", "last_updated_timestamp", "current_stage", "description",
               "run_id", "source", "status", "status_message", "run_link", "user_id")

    def __init__(self, answer):
        super().__init__({**answer, "version": str(answer["version"]), "aliases": list(answer.get("aliases", ()))})


class RegisteredModel(_Named):
    _fields = ("name", "creation_timestamp", "last_updated_timestamp", "description")

    def __init__(self, answer):
        aliases = {each["alias"]: str(each["version"]) for each in answer.get("aliases", ())}
        versions = [ModelVersion(each) for each in answer.get("latest_versions", ())]
        super().__init__({**answer, "aliases": aliases, "latest_versions": versions})


class FileInfo(SimpleNamespace):
    def __init__(self, path, is_dir=False, file_size=None):
        super().__init__(path=path, is_dir=is_dir, file_size=file_size)


class PagedList(list):
    """A page of answers; `token` asks for the next one."""

    def __init__(self, items, token=None):
        super().__init__(items)
        self.token = token
