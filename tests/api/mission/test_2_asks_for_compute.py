"""2. Asks for compute. A training cluster grows by itself when a run is submitted and shrinks when idle."""

from lathe_server import wait_for


def test_a_new_cluster_has_no_node(cluster):
    assert cluster["min_instances"] == 0
    assert cluster["max_instances"] == 2
    assert cluster["current_node_count"] == 0


def test_the_cluster_grew_for_the_job_and_shrinks_when_idle(mission, trained):
    def cluster():
        return mission.lathe("compute", "show", "-n", "cpu-cluster").json()

    wait_for(lambda: cluster()["current_node_count"] == 0, what="the cluster without a node")
    history = "\n".join(cluster()["recent"])
    assert "node cpu-cluster-0 was added" in history
    assert "node cpu-cluster-0 runs mission" in history
    assert "node cpu-cluster-0 left: idle for 1 s" in history


def test_the_sizes_say_what_they_are_here(mission):
    sizes = {size["name"].lower(): size for size in mission.lathe("compute", "list-sizes").json()}
    assert sizes["standard_ds3_v2"]["cores"] == 4
    assert sizes["standard_ds3_v2"]["here"]
