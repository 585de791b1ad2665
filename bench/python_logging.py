"""What one lathe.log_metric call costs the training loop, against a server that answers at once in another process.

    /usr/bin/python3 bench/python_logging.py [CALLS]

Prints the mean, median, 99th percentile and worst call, for a loop that does nothing else (the worst case: the sender
shares its interpreter lock) and for one that works a millisecond between two calls, as a training loop does.
"""

import multiprocessing
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "python")]


def serve(pipe):
    from recorder import Recorder

    pipe.send(Recorder().start().url)
    pipe.recv()


def costs(lathe, calls, work_us):
    found = []
    for step in range(calls):
        start = time.perf_counter_ns()
        lathe.log_metric("loss", 0.5, step=step)
        found.append(time.perf_counter_ns() - start)
        until = time.perf_counter_ns() + work_us * 1000
        while time.perf_counter_ns() < until:
            pass
    return sorted(found)


def main():
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    os.environ.update(MLFLOW_TRACKING_URI=ours.recv(), MLFLOW_RUN_ID="bench")
    import lathe

    lathe.log_metric("warm", 1)
    for name, count, work_us in (("nothing else", calls, 0), ("1 ms of work", min(calls, 5000), 1000)):
        found = costs(lathe, count, work_us)
        start = time.perf_counter()
        lathe.flush()
        rest = time.perf_counter() - start
        mean, median, most = sum(found) / count, found[count // 2], found[count * 99 // 100]
        print(f"{name:>12}: {count} calls, mean {mean / 1000:.2f} us, median {median / 1000:.2f}, "
              f"99 % {most / 1000:.2f}, worst {found[-1] / 1000:.0f}; flushed in {rest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
