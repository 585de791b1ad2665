"""The machine's metrics: MLflow's names, what /proc says, GPUs by a stand-in of NVIDIA's library."""

import subprocess

import pytest

SAMPLE = """
lathe.log_system_metrics(interval=0.05)
lathe.log_metric("ready", 1)
input()
"""

# As nvml.h has them: two cards, the second of which tells only its memory.
NVML = r"""
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = 3; return 0; }
static long cards[3] = {0, 1, 2};
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** card) { *card = &cards[index]; return 0; }
int nvmlDeviceGetMemoryInfo(void* card, unsigned long long sizes[3]) {
  sizes[0] = 8000000000; sizes[2] = 2000000000 * (1 + *(long*)card); sizes[1] = sizes[0] - sizes[2]; return 0; }
int nvmlDeviceGetUtilizationRates(void* card, unsigned busy[2]) { busy[0] = 37; busy[1] = 5; return *(long*)card ? 3 : 0; }
int nvmlDeviceGetPowerUsage(void* card, unsigned* milliwatts) { *milliwatts = 150000; return *(long*)card ? 3 : 0; }
int nvmlDeviceGetEnforcedPowerLimit(void* card, unsigned* milliwatts) { *milliwatts = 300000; return 0; }
"""


def sampled(script, recorder, count=3):
    """The metrics of a script that is sampled until `count` samples have arrived."""
    process = script.start(SAMPLE)
    def found():
        return [point for point in recorder.metrics() if point[0].startswith("system/")]
    recorder.wait_for(lambda: {step for _, _, step in found()} >= set(range(count)))
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0 and err == "", err
    return found()


def test_processor_memory_disk_and_network_are_sampled_step_by_step(script, recorder):
    points = sampled(script, recorder)
    named = {}
    for key, value, step in points:
        named.setdefault(key, []).append((step, value))
    assert all([step for step, _ in values] == list(range(len(values))) for values in named.values())
    latest = {key.removeprefix("system/"): values[-1][1] for key, values in named.items()}
    assert 0 <= latest["cpu_utilization_percentage"] <= 100
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024 / 1e6
    share = latest["system_memory_usage_percentage"] / 100
    assert latest["system_memory_usage_megabytes"] == pytest.approx(total * share, rel=1e-6) and 0 < share < 1
    assert latest["disk_usage_megabytes"] > 0 and latest["disk_available_megabytes"] > 0
    assert latest["network_receive_megabytes"] >= 0 and latest["network_transmit_megabytes"] >= 0
    assert not any(name.startswith("gpu") for name in latest)


@pytest.mark.parametrize("visible, cards", [(None, {0, 1, 2}), ("2,0", {0, 1}), ("", set())])
def test_gpus_are_told_by_nvidia_s_library_and_only_those_that_the_job_has(script, recorder, tmp_path, visible, cards):
    (tmp_path / "nvml.c").write_text(NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libnvidia-ml.so.1", "nvml.c"], cwd=tmp_path, check=True)
    script.environment["LD_LIBRARY_PATH"] = str(tmp_path)
    if visible is not None:
        script.environment["CUDA_VISIBLE_DEVICES"] = visible
    found = {key: value for key, value, _ in sampled(script, recorder) if "gpu" in key}
    assert {int(key.split("_")[1]) for key in found} == cards
    if visible is None:
        assert found == {
            "system/gpu_0_memory_usage_megabytes": 2000.0, "system/gpu_0_memory_usage_percentage": 25.0,
            "system/gpu_0_utilization_percentage": 37.0, "system/gpu_0_power_usage_watts": 150.0,
            "system/gpu_0_power_usage_percentage": 50.0, "system/gpu_1_memory_usage_megabytes": 4000.0,
            "system/gpu_1_memory_usage_percentage": 50.0, "system/gpu_2_memory_usage_megabytes": 6000.0,
            "system/gpu_2_memory_usage_percentage": 75.0}  # fmt: skip
    elif cards:
        assert found["system/gpu_0_memory_usage_megabytes"] == 6000.0  # the job's first card is the machine's third


def test_nothing_is_sampled_unless_asked_for_and_a_wrong_interval_is_refused(script, recorder):
    script.run("""
try: lathe.log_system_metrics(interval=-1)
except ValueError as error: assert "more than 0" in str(error)
else: raise AssertionError
import threading
lathe.log_metric("a", 1)
assert not any(thread.name == "lathe-system" for thread in threading.enumerate())
""")
    assert recorder.metrics() == [("a", 1.0, 0)]


def test_a_nested_run_is_sampled_until_it_ends(script, recorder):
    script.environment["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.02"
    process = script.start("""
with lathe.start_run(nested=True, log_system_metrics=True): input()
print("left", flush=True)
input()
""")
    recorder.wait_for(lambda: recorder.of("made-here")["metrics"])
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "left\n"
    count = len(recorder.of("made-here")["metrics"])
    process.communicate("\n", timeout=60)
    assert len(recorder.of("made-here")["metrics"]) == count and recorder.of("job-1")["metrics"] == []
