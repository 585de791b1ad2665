"""What MLflow refuses of its search language, we refuse: with its error code, and with its words."""

import base64
import json

import pytest

from mlflow_rest import INVALID

RUNS = [
    ("metric.acc >= 0.94; metrics.rmse < 1", "Search filter contained multiple expression"),
    ("metrics.a > 1;", "Invalid clause(s) in filter string: ';'"),
    ("m.acc >= 0.94", "Invalid entity type 'm'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"),
    ("acc >= 0.94", "Invalid attribute key 'acc' specified. Valid keys are '{"),
    ("p.model >= 'LR'", "Invalid entity type"), ("attri.x != 1", "Invalid entity type"),
    ("model >= 'LR'", "Invalid attribute key"), ("attribute.start != 1", "Invalid attribute key"),
    ("attribute.experiment_id != 1", "Invalid attribute key"),
    ("attribute.lifecycle_stage = 'ACTIVE'", "Invalid attribute key"),
    ("attribute._status != 'RUNNING'", "Invalid attribute key"), ("acc != 1.0", "Invalid attribute key"),
    ("dataset.status = 'true'", "Invalid dataset key 'status' specified. Valid keys are '{"),
    ("metrics.A > 0.1 OR params.B = 'LR'", "Invalid clause(s) in filter string: 'OR'"),
    ("metrics.A > 0.1 NAND params.B = 'LR'", "Invalid clause(s) in filter string"),
    ("metrics.A > 0.1 AND (params.B = 'LR')", "Invalid clause(s) in filter string"),
    ("`metrics.A > 0.1", "Invalid clause(s) in filter string"), ("param`.A > 0.1", "Invalid clause(s) in filter string"),
    ("dummy`.A > 0.1", "Invalid clause(s) in filter string"),
    ("attribute.status = true", "Invalid clause(s) in filter string"),
    ("params.'acc = LR", "Invalid clause(s) in filter string"), ("params.acc = 'LR", "Invalid clause(s) in filter string"),
    ("params.acc = LR'", "Invalid clause(s) in filter string"), ("params.acc = \"LR'", "Invalid clause(s) in filter string"),
    ("tags.acc = = 'LR'", "Invalid clause(s) in filter string"),
    ("attribute.status IS 'RUNNING'", "Invalid clause(s) in filter string"),
    ("params.acc LR !=", "Invalid clause(s) in filter string"), ("metric.acc !=", "Invalid clause(s) in filter string"),
    ("foo is null", "Invalid clause(s) in filter string"), ("metrics.a", "Invalid clause(s) in filter string"),
    ("AND metrics.a > 1", "Invalid clause(s) in filter string"), ("run_id IN 'a'", "Invalid clause(s) in filter string"),
    ("metrics.a > 0x10", "Invalid clause(s) in filter string"),
    ("metric.model = 'LR'", "Expected numeric value type for metric. Found 'LR'"),
    ("metric.model = '5'", "Expected numeric value type for metric"),
    ("metrics.acc != metrics.acc", "Expected numeric value type for metric. Found metrics.acc"),
    ("metrics.a = NaN", "Expected numeric value type for metric. Found NaN"),
    ("start_time > 'x'", "Expected numeric value type for numeric attribute: start_time. Found 'x'"),
    ("params.acc = 5", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5"),
    ("tags.acc = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
    ("attribute.status = 1", "Expected a quoted string value for attributes. Got value 1"),
    ("datasets.name = 5", "Expected a quoted string value for dataset attributes. Got value 5"),
    ("1.0 > metrics.acc", "Invalid comparison clause. Expected 'Identifier' found '1.0'"),
    ("1=1", "Expected 'Identifier' found '1'"), ("1==2", "Expected 'Identifier' found '1'"),
    ("'a' = 'b'", "Expected 'Identifier' found ''a''"),
    ("params.acc = LR", "Parameter value is either not quoted or unidentified quote types used for string value LR. "
                        "Use either single or double quotes."),
    ("tags.acc = `LR`", "value is either not quoted or unidentified quote types"),
    ("status = FAILED", "value is either not quoted or unidentified quote types"),
    ("metrics.abc ~ 1.0", "Invalid comparator '~' not one of '{"), ("metrics.abc == 1.0", "Invalid comparator '=='"),
    ("metrics.abc LIKE 1.0", "Invalid comparator 'LIKE' not one of"), ("params.abc > 'v'", "Invalid comparator '>'"),
    ("tags.abc <= 'v'", "Invalid comparator '<='"), ("tags.abc NOT LIKE 'v'", "Invalid comparator 'NOT LIKE'"),
    ("tags.abc RLIKE 'v'", "Invalid comparator 'RLIKE'"), ("tags.abc IN ('v')", "Invalid comparator 'IN'"),
    ("attributes.status < 'v'", "Invalid comparator '<'"), ("attributes.start_time ILIKE 1234", "Invalid comparator 'ILIKE'"),
    ("attributes.status IS NULL", "Invalid comparator 'IS NULL'"), ("metrics.a IS NULL", "Invalid comparator 'IS NULL'"),
    ("datasets.name >= 'v'", "Invalid comparator '>='"),
    ("status IN ('RUNNING')", "Only the 'run_id' attribute supports comparison with a list of quoted string values."),
    ("run_id IN ()", "While parsing a list in the query, expected a non-empty list of string values, but got empty list"),
    ("run_id IN (1)", "While parsing a list in the query, expected string value, punctuation, or whitespace, but got "
                      "different type in list"),
    ("run_id IN ('a' 'b')", "but got ill-formed list."), ("run_id IN (a)", "but got ill-formed list."),
    ("run_id IN ('a'", "but got ill-formed list."), ("metrics.a > (SELECT 1)", "ill-formed list"),
]  # fmt: skip

EXPERIMENTS = [
    ("m.a = 'x'", "Invalid entity type 'm'. Valid entity types are ('attribute', 'tag', 'tags')"),
    ("metrics.a = 1", "Invalid entity type 'metrics'"), ("attributes.name = 'x'", "Invalid entity type 'attributes'"),
    ("artifact_location = 'x'", "Invalid attribute key 'artifact_location' specified. Valid keys are '{'name', "
                                "'creation_time', 'last_update_time'}'"),
    ("experiment_id = 'x'", "Invalid attribute key 'experiment_id'"), ("name = 5", "Expected a quoted string value for attributes"),
    ("creation_time = 'x'", "Expected numeric value type for numeric attribute: creation_time. Found 'x'"),
    ("name > 'x'", "Invalid comparator for string attribute: >"),
    ("creation_time LIKE 5", "Invalid comparator for numeric attribute: LIKE"),
    ("tags.a > 'x'", "Invalid comparator for tag: >"), ("tags.a = 5", "Expected a quoted string value for tag"),
    ("name IN ('a')", "Only the 'run_id' attribute supports comparison with a list"),
    ("name = 'a' OR name = 'b'", "Invalid clause(s) in filter string"), ("name = a", "not quoted"),
]  # fmt: skip

MODELS = [
    ("run_id = 'x'", "Invalid attribute key 'run_id' specified. Valid keys are '{'name'}'"),
    ("metrics.a = 1", "Invalid entity type 'metrics'. Valid entity types are ('attribute', 'tag', 'tags')"),
    ("name > 'x'", "Invalid comparator for attribute: >"), ("tags.a < 'x'", "Invalid comparator for tag: <"),
    ("name IN ('x')", "Only the 'run_id' attribute supports comparison with a list"),
    ("name = 5", "Expected a quoted string value or a list of quoted string values for attributes. Got value 5"),
    ("tags.a = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
    ("tags.a IS NULL", "Invalid comparator for tag: IS NULL"), ("name = x", "not quoted"),
    ("name LIKE 'a' OR name LIKE 'b'", "Invalid clause(s) in filter string"),
]  # fmt: skip

VERSIONS = [
    ("stage = 'x'", "Invalid attribute key 'stage' specified. Valid keys are '{'name', 'version_number', 'run_id', "
                    "'source_path'}'"),
    ("version_number LIKE 1", "Invalid comparator for attribute version_number: LIKE"),
    ("version_number = 'x'", "Expected numeric value type for numeric attribute: version_number"),
    ("name >= 'x'", "Invalid comparator for attribute: >="), ("run_id NOT IN ('x')", "Invalid comparator for attribute: NOT IN"),
    ("name IN ('x')", "Only the 'run_id' attribute supports comparison with a list"),
    ("name = 5", "attributes support comparison with numeric values."), ("tags.a > 'x'", "Invalid comparator for tag: >"),
    ("run_id IN ()", "got empty list"), ("run_id = x", "not quoted"), ("tags.a", "Invalid clause(s) in filter string"),
]  # fmt: skip

LOGGED = [
    ("metric.a > 1", "Invalid entity type: 'metric'. Expected one of ['attributes', 'metrics', 'params', 'tags']."),
    ("metrics.a LIKE 1", "Invalid comparison operator for metrics.a: 'LIKE'. Expected one of ('=', '!=', 'LIKE', 'ILIKE', "
                         "'IN', 'NOT IN')."),
    ("name > 'x'", "Invalid comparison operator for attributes.name: '>'"), ("params.a < 'x'", "Invalid comparison operator"),
    ("tags.a IS NULL", "Invalid comparison operator"), ("metrics.a = 'x'", "Expected numeric value type for metric"),
    ("creation_timestamp = 'x'", "Expected numeric value type"), ("nope = 'x'", "Invalid attribute key 'nope'"),
    ("name = 'a' OR name = 'b'", "Invalid clause(s) in filter string"),
]  # fmt: skip

BAD_ORDERS = [
    ("", "Invalid order_by clause ''. Could not be parsed."), ("`metrics.A", "Invalid order_by clause"),
    ("metrics.A != 1", "Invalid order_by clause"), ("params.my_param ", "Invalid order_by clause"),
    ("(SELECT 1)", "Invalid order_by clause"), ("start_time; DROP TABLE run", "Invalid order_by clause"),
    ("start_time DESC, run_id", "Invalid order_by clause"), ("attribute.run_id ACS", "Invalid ordering key in order_by clause"),
    ("attribute.run_id decs", "Invalid ordering key in order_by clause"), ("`metrics.A`", "Invalid entity type"),
    ("m.acc", "Invalid entity type"), ("acc", "Invalid attribute key"), ("attribute.start", "Invalid attribute key"),
    ("attribute.experiment_id", "Invalid attribute key"), ("`run name`", "Invalid attribute key"),
    ("datasets.name", "Invalid identifier type 'dataset'"),
]  # fmt: skip

BAD_TOKENS = [
    ("not base64", "Invalid page token, could not base64-decode"),
    (base64.b64encode(b"not json").decode(), "Invalid page token, decoded value="),
    (base64.b64encode(b"{}").decode(), "Invalid page token, parsed value="),
    (base64.b64encode(json.dumps({"offset": "a"}).encode()).decode(), "Invalid page token"),
    (base64.b64encode(json.dumps({"offsoot": 7}).encode()).decode(), "Invalid page token"),
    (base64.b64encode(json.dumps({"offset": -1}).encode()).decode(), "Invalid page token"),
]


class Subject:
    """One of the five searches, over its own route."""

    def __init__(self, rest, route, method):
        self.rest, self.route, self.method = rest, route, method

    def refused(self, **fields):
        if self.method == "GET":
            return self.rest.get(self.route, code=INVALID, **fields)
        return self.rest.post(self.route, {"experiment_ids": ["0"], **fields}, code=INVALID)


@pytest.fixture
def subjects(rest):
    return {
        "runs": Subject(rest, "runs/search", "POST"),
        "experiments": Subject(rest, "experiments/search", "POST"),
        "experiments by GET": Subject(rest, "experiments/search", "GET"),
        "models": Subject(rest, "registered-models/search", "GET"),
        "versions": Subject(rest, "model-versions/search", "GET"),
        "logged": Subject(rest, "logged-models/search", "POST"),
    }


CASES = [(subject, filter, words)
         for subject, cases in (("runs", RUNS), ("experiments", EXPERIMENTS), ("experiments by GET", EXPERIMENTS),
                                ("models", MODELS), ("versions", VERSIONS), ("logged", LOGGED))
         for filter, words in cases]  # fmt: skip


@pytest.mark.parametrize("subject, filter, words", CASES)
def test_filters(subjects, subject, filter, words):
    assert words in subjects[subject].refused(filter=filter)


@pytest.mark.parametrize("order, words", BAD_ORDERS)
def test_orders_of_runs(subjects, order, words):
    assert words in subjects["runs"].refused(order_by=[order])


def test_a_field_orders_once(subjects):
    for order in (["metrics.a", "metrics.a DESC"], ["start_time", "attributes.start_time"], ["created", "start_time ASC"]):
        assert "`order_by` contains duplicate fields: ['" in subjects["runs"].refused(order_by=order)
    assert "duplicate fields" in subjects["models"].refused(order_by=["timestamp", "last_updated_timestamp DESC"])
    assert "duplicate fields" in subjects["versions"].refused(order_by=["name", "name"])


@pytest.mark.parametrize("subject, order, words", [
    ("experiments", "tags.a", "Invalid order_by entity: tag"), ("experiments", "start_time", "Invalid attribute key"),
    ("experiments", "name ACS", "Invalid ordering key"),
    ("models", "creation_timestamp DESC", "Invalid order by key 'creation_timestamp' specified. Valid keys are '{'name', "
                                          "'timestamp'}'"),
    ("models", "last_updated_timestamp DESC blah", "Invalid order_by clause"), ("models", "name aCs", "Invalid ordering key"),
    ("models", "timestamp somerandomstuff ASC", "Invalid order_by clause"), ("models", "timestamp decs", "Invalid order_by clause"),
    ("models", "metrics.a", "Invalid entity type"), ("versions", "tags.a", "Invalid order_by entity: tag"),
    ("versions", "run_id", "Invalid attribute key 'run_id' specified. Valid keys are '{"),
])  # fmt: skip
def test_other_orders(subjects, subject, order, words):
    assert words in subjects[subject].refused(order_by=[order])


@pytest.mark.parametrize("order, words", [
    ({"field_name": "params.a"}, "Invalid order by field name: params.a. Only metrics are supported."),
    ({"field_name": "nope"}, "Invalid order by field name: nope"), ({}, "Missing value for required parameter"),
    ({"field_name": "metrics.a", "dataset_digest": "d"},
     "`dataset_digest` can only be specified if `dataset_name` is also specified."),
    ({"field_name": "name", "ascending": "up"}, "Invalid value \"up\" for parameter 'order_by[0].ascending' supplied"),
])  # fmt: skip
def test_orders_of_logged_models(subjects, order, words):
    assert words in subjects["logged"].refused(order_by=[order])


def test_data_sets_of_a_search_have_a_name(subjects):
    words = "`dataset_name` in the `datasets` clause must be specified."
    assert subjects["logged"].refused(datasets=[{"dataset_digest": "d"}]) == words


@pytest.mark.parametrize("subject", ["experiments", "models", "versions", "logged", "runs"])
@pytest.mark.parametrize("token, words", BAD_TOKENS)
def test_page_tokens(subjects, subject, token, words):
    message = subjects[subject].refused(page_token=token)
    assert message.startswith("Invalid page token") if subject == "runs" else words in message


@pytest.mark.parametrize("subject, most", [("experiments", 50_000), ("models", 1000), ("versions", 200_000), ("runs", 50_000)])
def test_page_sizes(subjects, subject, most):
    for size in (0, -1):
        message = subjects[subject].refused(max_results=size)
        assert message == f"Invalid value {size} for parameter 'max_results' supplied. It must be a positive integer"
    message = subjects[subject].refused(max_results=most + 1)
    assert f"at most {most}" in message and str(most + 1) in message
    assert "Invalid value \"many\" for parameter 'max_results' supplied" in subjects[subject].refused(max_results="many")


@pytest.mark.parametrize("more", [
    {"order_by": [{"field_name": f"metrics.k{i}"} for i in range(1000)]},
    {"datasets": [{"dataset_name": f"d{i}"} for i in range(500)], "filter": "metrics.a > 1"},
    {"experiment_ids": [str(i) for i in range(20_000)]},
])  # fmt: skip
def test_searches_of_logged_models_have_their_limits(rest, more):
    said = rest.post("logged-models/search", {"experiment_ids": ["0"], **more}, code="400 INVALID_PARAMETER_VALUE")
    assert "at most" in said
