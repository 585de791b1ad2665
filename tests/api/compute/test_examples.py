"""The compute files in examples/ work as they are."""

import pathlib

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples/compute"


def test_the_examples_are_made_as_they_are(server):
    made = server.cli("compute", "create", "-f", EXAMPLES / "instance.yml", "--strict").json()
    assert (made["type"], made["state"]) == ("computeinstance", "Running")
    assert made["idle_time_before_shutdown_minutes"] == 60
    made = server.cli("compute", "create", "-f", EXAMPLES / "low-priority-cluster.yml", "--strict").json()
    assert (made["type"], made["tier"], made["max_instances"]) == ("amlcompute", "low_priority", 2)
