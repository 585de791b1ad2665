"""Learns a plane on as many processes as the job has: each takes its part of every batch, and gradients are averaged."""

import os

import torch
import torch.distributed as dist

import lathe

STEPS, BATCH = 40, 64


def batches():
    """The same batches in every process, whatever their number."""
    random = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        places = torch.rand(BATCH, 2, generator=random) * 2 - 1
        yield places, places @ torch.tensor([[3.0], [-2.0]]) + 0.5


def main():
    dist.init_process_group("gloo")  # MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE say where and who
    rank, world = dist.get_rank(), dist.get_world_size()
    print(f"rank {rank} of {world} on {os.environ['LATHE_NODE']}", flush=True)
    torch.manual_seed(7)
    model = torch.nn.Linear(2, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step, (places, heights) in enumerate(batches()):
        mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        loss = torch.nn.functional.mse_loss(model(places[mine].double()), heights[mine].double())
        optimizer.zero_grad()
        loss.backward()
        total = loss.detach()
        for value in [*(parameter.grad for parameter in model.parameters()), total]:
            dist.all_reduce(value)
            value /= world
        optimizer.step()
        if rank == 0:
            lathe.log_metric("loss", float(total), step=step)
    dist.barrier()
    if rank == 0:
        print(f"loss {float(total):.6f}", flush=True)
    dist.destroy_process_group()


main()
