"""Samples the machine while a run goes on: processor, memory, disk, network from /proc, GPUs from NVIDIA's library.

Names and units are MLflow's. Off unless asked for: `lathe.log_system_metrics()`, `start_run(log_system_metrics=True)`,
or MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true in the job's environment.
"""

import ctypes
import os
import shutil
import threading

from lathe.client import say

_MEGA = 1e6
_INTERVAL = 10.0  # seconds between two samples, as MLflow has it


class Sampler:
    """A daemon thread that logs one point for each metric every `interval` seconds, until `stop`."""

    def __init__(self, run, interval=None):
        self._run = run
        self._interval = float(interval or os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or _INTERVAL)
        if not self._interval > 0:
            raise ValueError(f"the interval between samples must be more than 0 seconds, not {self._interval}")
        self._ended = threading.Event()
        self._sources = [Processor(), Network(), memory, disk, *Gpu.all()]
        self._thread = threading.Thread(target=self._work, name="lathe-system", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._ended.set()

    def _work(self):
        step = 0
        broken = set()
        while not self._ended.wait(self._interval):
            found = {}
            for source in self._sources:
                try:
                    found.update(source())
                except Exception as error:
                    if source not in broken:
                        broken.add(source)
                        say(f"some system metrics are not logged: {error}")
            if found and not self._ended.is_set():
                self._run.log_metrics({f"system/{name}": value for name, value in found.items()}, step)
            step += 1


class Processor:
    """How busy all cores were since the last call, in percent."""

    def __init__(self):
        self._last = _processor_times()

    def __call__(self):
        busy, total = _processor_times()
        last_busy, last_total = self._last
        self._last = busy, total
        return {"cpu_utilization_percentage": 100.0 * (busy - last_busy) / max(total - last_total, 1)}


class Network:
    """Megabytes received and sent since the start, by all interfaces but the loopback."""

    def __init__(self):
        self._first = _network_bytes()

    def __call__(self):
        received, sent = _network_bytes()
        return {"network_receive_megabytes": (received - self._first[0]) / _MEGA,
                "network_transmit_megabytes": (sent - self._first[1]) / _MEGA}


def memory():
    with open("/proc/meminfo") as file:
        sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":", 1) for line in file)}
    total = sizes["MemTotal"]
    used = total - sizes["MemAvailable"]
    return {"system_memory_usage_megabytes": used / _MEGA, "system_memory_usage_percentage": 100.0 * used / total}


def disk():
    usage = shutil.disk_usage("/")
    return {"disk_usage_megabytes": usage.used / _MEGA, "disk_available_megabytes": usage.free / _MEGA,
            "disk_usage_percentage": 100.0 * usage.used / max(usage.used + usage.free, 1)}


class Gpu:
    """One GPU, by NVML; what a card cannot tell is left out."""

    def __init__(self, library, index, handle):
        self._library, self._index, self._handle = library, index, handle

    @classmethod
    def all(cls):
        """The GPUs that this process may use; none without NVIDIA's library."""
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
            if library.nvmlInit_v2() != 0:
                return []
            count = ctypes.c_uint()
            library.nvmlDeviceGetCount_v2(ctypes.byref(count))
            found = []
            for index in _visible(count.value):
                handle = ctypes.c_void_p()
                if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
                    found.append(cls(library, len(found), handle))
            return found
        except (OSError, AttributeError):
            return []

    def __call__(self):
        values = {}
        memory = (ctypes.c_ulonglong * 3)()  # total, free, used
        if self._library.nvmlDeviceGetMemoryInfo(self._handle, memory) == 0:
            values["memory_usage_megabytes"] = memory[2] / _MEGA
            values["memory_usage_percentage"] = 100.0 * memory[2] / max(memory[0], 1)
        busy = (ctypes.c_uint * 2)()  # GPU, memory
        if self._library.nvmlDeviceGetUtilizationRates(self._handle, busy) == 0:
            values["utilization_percentage"] = float(busy[0])
        power, limit = ctypes.c_uint(), ctypes.c_uint()  # milliwatts
        if self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(power)) == 0:
            values["power_usage_watts"] = power.value / 1000
            if self._library.nvmlDeviceGetEnforcedPowerLimit(self._handle, ctypes.byref(limit)) == 0 and limit.value:
                values["power_usage_percentage"] = 100.0 * power.value / limit.value
        return {f"gpu_{self._index}_{name}": value for name, value in values.items()}


def _visible(count):
    """The numbers in CUDA_VISIBLE_DEVICES, or all; names (GPU-..., MIG-...) are not told apart."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return range(count)
    parts = [part.strip() for part in named.split(",") if part.strip()]
    if all(part.isdigit() for part in parts):
        return [int(part) for part in parts if int(part) < count]
    return range(count)


def _processor_times():
    with open("/proc/stat") as file:
        user, nice, system, idle, waiting, *more = map(int, file.readline().split()[1:9])
    total = user + nice + system + idle + waiting + sum(more)
    return total - idle - waiting, total


def _network_bytes():
    received = sent = 0
    with open("/proc/net/dev") as file:
        for line in file.readlines()[2:]:
            name, numbers = line.split(":", 1)
            if name.strip() != "lo":
                fields = numbers.split()
                received += int(fields[0])
                sent += int(fields[8])
    return received, sent
