"""How figures are printed: one line each, as soon as it is known."""

import statistics
import time


def line(what, figure, more=""):
    print(f"{what:58} {figure:>18}  {more}".rstrip(), flush=True)


def heading(text):
    print(f"\n{text}", flush=True)


def quantile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def timed(target, what, times, call):
    """Runs `call` so often and prints the median, the 99th percentile and the worst, and what one cost the server."""
    took, spent = [], target.cpu_seconds()
    for _ in range(times):
        began = time.perf_counter()
        answer = call()
        took.append((time.perf_counter() - began) * 1000)
    cpu = "" if spent is None else f", {(target.cpu_seconds() - spent) / times * 1000:.2f} ms of the server's CPU each"
    line(what, f"{statistics.median(took):.2f} ms", f"p99 {quantile(took, 0.99):.2f} ms, worst {max(took):.2f} ms{cpu}")
    return answer
