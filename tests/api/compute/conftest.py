"""Fixtures for the tests of compute targets: a server on a machine with GPUs that are a fake library's."""

import os

import pytest

from lathe_server import Server, bin_folder


class Gpus:
    """What the fake NVML tells of the machine: it is read again at each question."""

    def __init__(self, file):
        self.file = file
        self.cards = []
        self.busy = {}

    def set(self, *cards):
        """Each card: (uuid, MiB, [(pid, MiB), ...])."""
        self.cards = list(cards)
        lines = []
        for minor, (uuid, mib, processes) in enumerate(self.cards):
            lines.append(f"gpu {uuid} {minor} {mib} Fake GPU")
            lines += [f"use {percent} {used} {milliwatts}" for percent, used, milliwatts in self.busy.get(minor, ())]
            lines += [f"process {pid} {used}" for pid, used in processes]
        beside = self.file.with_suffix(".new")
        beside.write_text("\n".join(lines) + "\n")
        os.replace(beside, self.file)

    def use(self, number, percent, mib, milliwatts):
        """How busy the GPU `number` is from now on."""
        self.busy[number] = [(percent, mib, milliwatts)]
        self.set(*self.cards)

    def processes(self, number, *processes):
        """Who computes on the GPU `number` from now on."""
        cards = self.cards
        uuid, mib, _ = cards[number]
        cards[number] = (uuid, mib, list(processes))
        self.set(*cards)


@pytest.fixture
def gpus(tmp_path):
    """Two GPUs of 16 GiB."""
    fake = Gpus(tmp_path / "nvml")
    fake.set(("GPU-aaaa", 16384, []), ("GPU-bbbb", 16384, []))
    return fake


@pytest.fixture
def gpu_server(gpus):
    """A server on a machine with the two of `gpus`; its configuration has sizes of an administrator's."""
    library = bin_folder() / "libfake_nvml.so"
    assert library.exists(), f"{library} is built with the tests (target fake_nvml)"
    sizes = "one-gpu=cores:1 memory:256MiB gpu:1,half-gpu=cores:1 memory:256MiB gpu:0.5,slot=cores:1 memory:256MiB"
    server = Server("--sizes", sizes, "--job-metrics-interval", "1s", env={"LATHE_NVML": str(library), "FAKE_NVML": str(gpus.file)})
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, set(sorted(allowed)[:2]))  # the server counts two cores, whatever the machine has
        with server as running:
            yield running
    finally:
        os.sched_setaffinity(0, allowed)
