"""A Python deployment that sleeps has an interpreter parked for its wake: what that has done by then, and what ends it."""

import os
import time

import pytest
import requests

from data_plane import KEY, DataPlane, endpoint
from lathe_server import wait_for
from python_workers import interpreters_of, log_of, scoring_script, wait_until_gone
from sandbox_helpers import python_can_be_deployed

pytestmark = python_can_be_deployed

LIBRARY = """
import os, time
imported_ns = time.time_ns()
seen = os.environ.get("READ_AT_IMPORT")
"""
SCRIPT = """
    import os, time
    os.environ["READ_AT_IMPORT"] = "as the script has it"
    import made_library

    begun_ns = time.time_ns()
    def init():
        global loaded_ns
        loaded_ns = time.time_ns()
    def run(data):
        return {"imported": made_library.imported_ns, "seen": made_library.seen, "begun": begun_ns, "loaded": loaded_ns}
"""


def sleepy(plane, source=SCRIPT, name="blue", version="1"):
    """A deployment that sleeps soon; its library is in its environment, and not with its code."""
    environment = plane.models / "environment"
    environment.mkdir(exist_ok=True)
    (environment / "made_library.py").write_text(LIBRARY)
    environment.chmod(0o755)
    deployed = scoring_script(plane, source, name=name, version=version, environment=str(environment),
                              variables={"PYTHONPATH": str(environment)}, request_timeout_ms=120_000)  # fmt: skip
    deployed["model"]["scale"] = {"min": 0, "max": 2, "polling_ms": 20, "quiet_ms": 200}
    return deployed


def metric(plane, name, endpoint_name):
    line = f'lathe_infer_{name}{{endpoint="{endpoint_name}",deployment="blue"}} '
    (found,) = [each for each in plane.get("/metrics").text.splitlines() if each.startswith(line)]
    return int(found[len(line):])


def is_parked(plane, name="e"):
    return metric(plane, "parked_interpreters", name) == 1


def deploy(plane, *endpoints):
    state = plane.desire(*endpoints)
    assert {each["state"] for each in state.values()} == {"ready"}, state


def ask(plane, name="e"):
    """The answer, and when it was asked for."""
    asked_ns = time.time_ns()
    got = requests.post(f"{plane.url}/endpoints/{name}/score", json={}, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
    assert got.status_code == 200, got.text
    return got.json(), asked_ns


def test_a_wake_finds_what_the_last_worker_imported_and_nothing_else_done(plane):
    deploy(plane, endpoint("e", [sleepy(plane)]))
    for _ in range(2):
        wait_for(lambda: is_parked(plane), 120, "a parked interpreter")
        answer, asked_ns = ask(plane)
        assert answer["imported"] < asked_ns < answer["begun"] <= answer["loaded"], answer
        assert answer["seen"] == "as the script has it"
    assert "started again" not in log_of(plane) and "new one" not in log_of(plane), log_of(plane)


def test_one_that_was_killed_is_not_missed(plane):
    deploy(plane, endpoint("e", [sleepy(plane)]))
    wait_for(lambda: is_parked(plane), 120, "a parked interpreter")
    (pid,) = interpreters_of(plane)
    os.kill(pid, 9)
    answer, asked_ns = ask(plane)
    assert asked_ns < answer["imported"], answer
    wait_for(lambda: is_parked(plane), 120, "the next one")


def test_a_request_that_comes_while_it_imports_is_answered(plane):
    """Neither the order to wake nor the request is lost."""
    deploy(plane, endpoint("e", [sleepy(plane)]))
    for _ in range(5):
        wait_for(lambda: metric(plane, "instances", "e") == 0 and interpreters_of(plane), 120, "an interpreter")
        ask(plane)


@pytest.mark.parametrize("refusal", ["raise RuntimeError('it is there before me')",
                                     "print('it is there before me', flush=True); os._exit(3)"])  # fmt: skip
def test_a_script_that_needs_a_new_interpreter_gets_one(plane, refusal):
    source = f"""
        import os, sys
        if "made_library" in sys.modules:
            {refusal}
    """ + SCRIPT.replace("\n    ", "\n        ")
    deploy(plane, endpoint("e", [sleepy(plane, source)]))
    wait_for(lambda: is_parked(plane), 120, "a parked interpreter")
    ask(plane)
    assert "it is there before me" in log_of(plane), log_of(plane)
    wait_for(lambda: metric(plane, "instances", "e") == 0 and not interpreters_of(plane), 120, "its sleep")
    ask(plane)
    assert log_of(plane).count("a new one is started") == 1, log_of(plane)


def test_there_are_no_more_than_may_be_and_the_last_used_stay():
    with DataPlane("--parked-interpreters", "1") as plane:
        deploy(plane, endpoint("e", [sleepy(plane)]), endpoint("f", [sleepy(plane, version="2")]))
        for used, other in ("ef", "fe", "ef"):
            ask(plane, used)
            wait_for(lambda: is_parked(plane, used), 120, "a parked interpreter")
            wait_for(lambda: len(interpreters_of(plane)) == 1 and not is_parked(plane, other), 120, "the end of the other")


def test_it_ends_with_its_deployment_and_with_the_data_plane(plane):
    deploy(plane, endpoint("e", [sleepy(plane)]))
    wait_for(lambda: is_parked(plane), 120, "a parked interpreter")
    old = interpreters_of(plane)
    deploy(plane, endpoint("e", [sleepy(plane, version="2")]))
    wait_until_gone(old)
    wait_for(lambda: is_parked(plane), 120, "one for the new version")
    old = interpreters_of(plane)
    plane.desire()
    wait_until_gone(old)

    deploy(plane, endpoint("e", [sleepy(plane)]))
    wait_for(lambda: is_parked(plane), 120, "a parked interpreter")
    old = interpreters_of(plane)
    plane.kill9()
    wait_until_gone(old)
    plane.start()
