"""What searches of experiments, models, versions and logged models find; how texts are quoted."""

import time

import pytest

from lathe_server import wait_for
from mlflow_rest import Rest


def names(page, kind):
    return " ".join(item["name"] for item in page.get(kind, []))


@pytest.mark.parametrize("filter", [
    "params.m = \"L'Hosp\"", "params.m = 'L''Hosp'", "params.`m`=\"L'Hosp\"", 'params."m" = "L\'Hosp"',
    "params.'m' = \"L'Hosp\"", "`params`.m LIKE 'L''%'",
    'parameter.m ilike "l\'hosp"', "params.m\n=\n\"L'Hosp\"   AND   status = 'RUNNING'",
])  # fmt: skip
def test_texts_and_names_may_be_quoted_in_many_ways(rest, filter):
    run_id = rest.run(rest.experiment("quoted " + filter))
    rest.post("runs/log-parameter", {"run_id": run_id, "key": "m", "value": "L'Hosp"})
    experiment = rest.get("runs/get", run_id=run_id)["run"]["info"]["experiment_id"]
    assert rest.search([experiment], filter) == [run_id]


def test_a_quote_behind_a_backslash_does_not_end_a_text(rest):
    experiment = rest.experiment("backslashes")
    run_id = rest.run(experiment)
    rest.post("runs/set-tag", {"run_id": run_id, "key": "t", "value": "a\\'b"})
    assert rest.search([experiment], "tags.t = 'a\\'b' AND tags.t LIKE '%b'") == [run_id]
    rest.post("runs/set-tag", {"run_id": run_id, "key": "path", "value": "C:\\"})
    assert rest.search([experiment], "tags.path = 'C:\\'") == [run_id]


def test_patterns_take_other_characters_as_they_are(rest):
    experiment = rest.experiment("patterns")
    for value in ("a*b", "a?b", "a[b]", "a\\b", "aXb"):
        run_id = rest.run(experiment, run_name=value)
        rest.post("runs/set-tag", {"run_id": run_id, "key": "t", "value": value})

    def found(filter):
        page = rest.post("runs/search", {"experiment_ids": [experiment], "filter": filter, "order_by": ["run_name"]})
        return [run["info"]["run_name"] for run in page.get("runs", [])]

    assert found("tags.t LIKE 'a*b'") == ["a*b"]
    assert found("tags.t LIKE 'a?b'") == ["a?b"]
    assert found("tags.t LIKE 'a[b]'") == ["a[b]"]
    assert found("tags.t LIKE 'a_b'") == ["a*b", "a?b", "aXb", "a\\b"]
    assert found("tags.t ILIKE 'A\\B'") == ["a\\b"]
    assert found("tags.t LIKE 'AxB'") == [] and found("tags.t ILIKE 'AxB'") == ["aXb"]


def test_numbers_are_read_as_people_write_them(rest):
    experiment = rest.experiment("numbers")
    run_id = rest.run(experiment, start_time=1_700_000_000_000)
    rest.metric(run_id, "loss", -0.00025)
    for number in ("-2.5e-4", "-0.00025", "-.00025"):
        assert rest.search([experiment], f"metrics.loss = {number}") == [run_id], number
    assert rest.search([experiment], "start_time = 1700000000000 and Created >= 1.7e12") == [run_id]


def test_data_sets_of_runs_are_searched(rest):
    experiment = rest.experiment("data sets")
    runs = {}
    for name, context in (("one", "train"), ("two", "eval")):
        runs[name] = rest.run(experiment)
        dataset = {"name": name, "digest": f"d-{name}", "source_type": "local", "source": "{}"}
        rest.post("runs/log-inputs", {"run_id": runs[name], "datasets": [
            {"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": context}]}]})  # fmt: skip
    for filter, found in (("dataset.name = 'one'", "one"), ("datasets.digest IN ('d-one', 'x')", "one"),
                          ("datasets.name NOT IN ('one')", "two"), ("datasets.context LIKE 'ev%'", "two"),
                          ("datasets.name ILIKE 'O%' AND dataset.context = 'train'", "one")):  # fmt: skip
        assert rest.search([experiment], filter) == [runs[found]], filter
    summaries = rest.post("experiments/search-datasets", {"experiment_ids": [experiment]})["dataset_summaries"]
    assert summaries == [
        {"experiment_id": experiment, "name": "two", "digest": "d-two", "context": "eval"},
        {"experiment_id": experiment, "name": "one", "digest": "d-one", "context": "train"},
    ]


def test_experiments(rest):
    made = {}
    for name, tags in (("sea-a", {"key": "value"}), ("sea-ab", {"key": "vaLue"}), ("sea-Abc", {})):
        made[name] = rest.experiment(name, tags=[{"key": key, "value": value} for key, value in tags.items()])

    def found(filter, **fields):
        page = rest.post("experiments/search", {"filter": f"name LIKE 'sea-%' AND {filter}", **fields})
        return names(page, "experiments")

    assert found("name != 'x'") == "sea-Abc sea-ab sea-a"
    assert found("attribute.name != 'sea-a'") == "sea-Abc sea-ab"
    assert found("name LIKE 'sea-a%'") == "sea-ab sea-a" and found("name ILIKE 'SEA-A%'") == "sea-Abc sea-ab sea-a"
    assert found("tags.key = 'value'") == "sea-a" and found("tag.key != 'value'") == "sea-ab"
    assert found("tags.`key` ILIKE '%alu%'") == "sea-ab sea-a"
    assert found("tags.key IS NULL") == "sea-Abc" and found("tags.key IS NOT NULL") == "sea-ab sea-a"
    assert found("creation_time > 0 AND last_update_time < 99999999999999") == "sea-Abc sea-ab sea-a"
    assert found("name != 'x'", order_by=["name DESC"]) == "sea-ab sea-a sea-Abc"
    assert found("name != 'x'", order_by=["experiment_id ASC"]) == "sea-a sea-ab sea-Abc"
    page = rest.get("experiments/search", filter="name LIKE 'sea-%'", max_results=2, view_type="ACTIVE_ONLY")
    assert names(page, "experiments") == "sea-Abc sea-ab"
    page = rest.get("experiments/search", filter="name LIKE 'sea-%'", max_results=2, page_token=page["next_page_token"])
    assert names(page, "experiments") == "sea-a" and "next_page_token" not in page
    rest.post("experiments/delete", {"experiment_id": made["sea-ab"]})
    for view, expected in (("ACTIVE_ONLY", "sea-Abc sea-a"), ("DELETED_ONLY", "sea-ab"), ("ALL", "sea-Abc sea-ab sea-a"),
                           (1, "sea-Abc sea-a"), (2, "sea-ab"), ("3", "sea-Abc sea-ab sea-a")):  # fmt: skip
        assert found("name != 'x'", view_type=view) == expected


@pytest.fixture(scope="module")
def registry(server):
    """Three models and a prompt, each with two versions."""
    rest = Rest(server)
    run_id = rest.run()
    for name, tags in (("reg-a", {"team": "red"}), ("reg-B", {}), ("reg-c", {"team": "Red"})):
        rest.post("registered-models/create", {"name": name, "tags": [{"key": k, "value": v} for k, v in tags.items()]})
        for number in (1, 2):
            rest.post("model-versions/create", {
                "name": name, "source": f"runs:/{run_id}/model{number}", "run_id": run_id,
                "tags": [{"key": "number", "value": str(number)}]})  # fmt: skip
    prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    rest.post("registered-models/create", {"name": "reg-prompt", "tags": [prompt]})
    for text in ("Hello {{name}}", "Bye"):
        tags = [prompt, {"key": "mlflow.prompt.text", "value": text}, {"key": "_mlflow_prompt_type", "value": "text"}]
        made = rest.post("model-versions/create", {"name": "reg-prompt", "source": "prompt-template", "tags": tags})
        assert made["model_version"]["source"] == "prompt-template"
    return run_id


@pytest.mark.parametrize("filter, found", [
    ("", "reg-B reg-a reg-c"), ("name = 'reg-a'", "reg-a"), ("name != 'reg-a'", "reg-B reg-c"), ("name LIKE '%-b'", ""),
    ("name ILIKE '%-b'", "reg-B"), ("tags.team = 'red'", "reg-a"), ("tag.team ILIKE 'RED'", "reg-a reg-c"),
    ("attribute.name LIKE 'reg-%' AND tags.team != 'red'", "reg-c"),
    # What MLflow 3's clients add, and what they ask for prompts.
    ("tag.`mlflow.prompt.is_prompt` != 'true'", "reg-B reg-a reg-c"),
    ("name LIKE 'reg-a%' AND tag.`mlflow.prompt.is_prompt` != 'true'", "reg-a"),
    ("tags.`mlflow.prompt.is_prompt` = 'false'", "reg-B reg-a reg-c"),
    ("tags.`mlflow.prompt.is_prompt` = 'true'", "reg-prompt"),
    ("tags.`mlflow.prompt.is_prompt` = 'true' AND name LIKE 'reg-%'", "reg-prompt"),
])  # fmt: skip
def test_models(rest, registry, filter, found):
    assert names(rest.get("registered-models/search", filter=filter), "registered_models") == found


def test_models_in_order_and_pages(rest, registry):
    def found(**fields):
        return names(rest.get("registered-models/search", **fields), "registered_models")

    assert found(order_by=["name DESC"]) == "reg-c reg-a reg-B"
    assert found(order_by=["timestamp DESC", "name"]) == "reg-c reg-B reg-a"
    assert found(order_by="last_updated_timestamp ASC") == "reg-a reg-B reg-c"
    page = rest.get("registered-models/search", max_results=2)
    assert names(page, "registered_models") == "reg-B reg-a"
    page = rest.get("registered-models/search", max_results=2, page_token=page["next_page_token"])
    assert names(page, "registered_models") == "reg-c" and "next_page_token" not in page


@pytest.mark.parametrize("filter, found", [
    ("", "c2 c1 B2 B1 a2 a1"), ("name = 'reg-a'", "a2 a1"), ("version_number = 1", "c1 B1 a1"), ("version_number >= '2'", "c2 B2 a2"),
    ("source_path LIKE '%model2'", "c2 B2 a2"), ("tags.number = '1' AND name ILIKE '%-b'", "B1"),
    ("run_id IN ('RUN', 'x') AND name = 'reg-c'", "c2 c1"), ("run_id = 'RUN' AND version_number != 1", "c2 B2 a2"),
    ("tags.`mlflow.prompt.is_prompt` = 'true'", "prompt2 prompt1"), ("name = 'reg-prompt'", ""),
    ("tags.`mlflow.prompt.text` LIKE 'Hello%' AND tags.`mlflow.prompt.is_prompt` = 'true'", "prompt1"),
])  # fmt: skip
def test_versions(rest, registry, filter, found):
    page = rest.get("model-versions/search", filter=filter.replace("RUN", registry))
    assert " ".join(v["name"][4:] + v["version"] for v in page.get("model_versions", [])) == found


def test_versions_in_order(rest, registry):
    def found(*order):
        page = rest.get("model-versions/search", order_by=list(order))
        return " ".join(v["name"][4:] + v["version"] for v in page["model_versions"])

    assert found("name DESC") == "c2 c1 a2 a1 B2 B1"
    assert found("version_number ASC") == "B1 a1 c1 B2 a2 c2"
    assert found("creation_timestamp", "name") == "a1 a2 B1 B2 c1 c2"


@pytest.fixture(scope="module")
def logged(server):
    """Logged models of one experiment, by name, measured on two data sets."""
    rest = Rest(server)
    experiment = rest.experiment("logged")
    run_id = rest.run(experiment)
    ids = {}
    for name, model_type, loss in (("alpha", "tree", 0.5), ("beta", "Tree", 2), ("gamma", "", "NaN"), ("delta", "", None)):
        made = rest.post("logged-models", {"experiment_id": experiment, "name": name, "model_type": model_type,
                                           "params": [{"key": "depth", "value": name[0]}]})  # fmt: skip
        ids[name] = made["model"]["info"]["model_id"]
        wait_for(lambda: time.time() * 1000 > made["model"]["info"]["creation_timestamp_ms"] + 1, what="another millisecond")
        for dataset, add in (("train", 0), ("test", 1)):
            if loss is not None:
                rest.post("runs/log-metric", {
                    "run_id": run_id, "key": "loss", "value": loss if loss == "NaN" else loss + add, "timestamp": 1,
                    "model_id": ids[name], "dataset_name": dataset, "dataset_digest": f"d-{dataset}"})  # fmt: skip
    rest.patch(f"logged-models/{ids['alpha']}", {"status": 2})
    rest.patch(f"logged-models/{ids['beta']}", {"status": "LOGGED_MODEL_READY"})
    rest.patch(f"logged-models/{ids['beta']}/tags", {"tags": [{"key": "team", "value": "red"}]})

    def search(filter="", **fields):
        page = rest.post("logged-models/search", {"experiment_ids": [experiment], "filter": filter, **fields})
        return " ".join(model["info"]["name"] for model in page.get("models", []))

    search.ids = ids
    return search


@pytest.mark.parametrize("filter, found", [
    ("", "delta gamma beta alpha"), ("name = 'alpha'", "alpha"), ("attributes.name IN ('alpha', 'beta')", "beta alpha"),
    ("name NOT IN ('alpha')", "delta gamma beta"), ("model_type ILIKE 'TREE'", "beta alpha"), ("model_type LIKE 'T%'", "beta"),
    ("params.depth = 'a'", "alpha"), ("tags.team = 'red'", "beta"), ("metrics.loss < 1", "alpha"), ("metrics.loss >= 2", "beta"),
    ("metrics.loss != 0.5", "gamma beta alpha"), ("creation_timestamp > 0 AND name = 'beta'", "beta"),
    ("status = 'LOGGED_MODEL_READY'", "beta alpha"), ("params.`depth` IN ('a', 'g')", "gamma alpha"),
])  # fmt: skip
def test_logged_models(logged, filter, found):
    assert logged(filter) == found


def test_logged_models_by_data_set(logged):
    assert logged("metrics.loss < 1", datasets=[{"dataset_name": "train"}]) == "alpha"
    assert logged("metrics.loss < 1", datasets=[{"dataset_name": "test"}]) == ""
    assert logged("metrics.loss > 2", datasets=[{"dataset_name": "test", "dataset_digest": "d-test"}]) == "beta"
    assert logged("metrics.loss > 2", datasets=[{"dataset_name": "test", "dataset_digest": "x"}]) == ""
    assert logged(datasets=[{"dataset_name": "train"}, {"dataset_name": "x"}]) == "gamma beta alpha"
    assert logged(datasets=[{"dataset_name": "x"}]) == ""


def test_logged_models_in_order(logged):
    def by(field, **more):
        return logged(order_by=[{"field_name": field, **more}])

    assert by("metrics.loss") == "alpha beta gamma delta"
    assert by("metrics.loss", ascending=False) == "beta alpha gamma delta"
    assert by("metrics.loss", ascending=False, dataset_name="train", dataset_digest="d-train") == "beta alpha gamma delta"
    assert by("name") == "alpha beta delta gamma" and by("creation_timestamp", ascending=True) == "alpha beta gamma delta"
    assert by("model_type") == "beta alpha delta gamma"
