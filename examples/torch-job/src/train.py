"""Learns the height of a wave from where one stands; the loop is logged by itself, the model served as ONNX."""

import json

import lathe
import torch

lathe.autolog()  # the optimizer's settings, and the loss as `backward` is called on it


def waves(count, seed):
    """(places, heights) of `count` points on a surface of two waves."""
    places = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 4 - 2
    return places, torch.sin(places[:, :1]) * torch.cos(places[:, 1:])


def main():
    torch.manual_seed(7)
    places, heights = waves(2000, seed=1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Tanh(),
                                torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(20):
        for batch in torch.randperm(len(places)).split(200):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(places[batch]), heights[batch])
            loss.backward()
            optimizer.step()

    held_back, wanted = waves(100, seed=2)
    with torch.no_grad():
        predictions = model(held_back)
    lathe.log_metric("test_loss", torch.nn.functional.mse_loss(predictions, wanted).item())
    # The places that the model never saw, to compare an endpoint's answers with torch's own.
    lathe.log_dict({"rows": held_back.tolist(), "predictions": predictions.tolist()}, "heldback.json")
    lathe.log_model(model, "model", registered_model_name="waves", input_example=held_back[:5])


if __name__ == "__main__":
    main()
