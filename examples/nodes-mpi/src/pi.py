"""Pi, by as many MPI ranks as there are: each sums its part of the series, and rank 0 gathers the sum."""

import math
import os

from mpi4py import MPI

STEPS = 1_000_000

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
print(f"rank {rank} of {size} on {os.environ['LATHE_NODE']}", flush=True)
mine = sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(rank, STEPS, size)) / STEPS
pi = world.reduce(mine, op=MPI.SUM, root=0)
if rank == 0:
    import lathe

    lathe.log_metric("error", abs(pi - math.pi))
    print(f"pi is {pi:.10f}", flush=True)
