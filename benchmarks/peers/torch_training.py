"""The peer in `benchmarks.training`: an eager PyTorch loop and a `torch.func` ensemble, in PyTorch's own interpreter.

    python torch_training.py DATA.npz  ->  one JSON line on standard output

DATA.npz holds x (n, d) float32, y (n,) int64 and the settings: widths, batch_size, steps, learning_rate, momentum,
members. SGD with heavy-ball momentum; mean cross-entropy; one thread.
"""

# pyright: reportMissingImports=false
import itertools
import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

torch.set_num_threads(1)


def net(d: int, widths: list[int], k: int) -> nn.Sequential:
    """ReLU multilayer perceptron."""
    sizes = [d, *widths]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], k))


def batches(n: int, size: int, steps: int, seed: int) -> torch.Tensor:
    """(steps, size) row numbers, a fresh shuffle per epoch."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = n // size
    rows = [torch.randperm(n, generator=generator)[: per_epoch * size] for _ in range(-(-steps // per_epoch))]
    return torch.cat(rows).reshape(-1, size)[:steps]


def eager(x: torch.Tensor, y: torch.Tensor, s: dict) -> float:
    """Seconds for one run of `steps` steps, the loop as anyone writes it."""
    torch.manual_seed(0)
    model = net(x.shape[1], s["widths"], s["k"])
    solver = torch.optim.SGD(model.parameters(), lr=s["learning_rate"], momentum=s["momentum"])
    loss_of = nn.CrossEntropyLoss()
    order = batches(len(x), s["batch_size"], s["steps"], 0)
    start = time.perf_counter()
    for rows in order:
        solver.zero_grad()
        loss_of(model(x[rows]), y[rows]).backward()
        solver.step()
    seconds = time.perf_counter() - start
    assert (model(x).argmax(1) == y).float().mean() > 0.9, "the peer did not learn"
    return seconds


def ensemble(x: torch.Tensor, y: torch.Tensor, s: dict) -> float:
    """Seconds for `members` runs at once: torch.func's vmapped gradients over stacked parameters."""
    torch.manual_seed(0)
    nets = [net(x.shape[1], s["widths"], s["k"]) for _ in range(s["members"])]
    base = nets[0]
    parameters, buffers = stack_module_state(nets)
    parameters = {name: value.detach() for name, value in parameters.items()}

    def loss(p: dict, b: dict, rows_x: torch.Tensor, rows_y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(base, (p, b), (rows_x,)), rows_y)

    gradients = vmap(grad(loss), in_dims=(0, 0, 0, 0))
    velocity = {name: torch.zeros_like(value) for name, value in parameters.items()}
    order = torch.stack([batches(len(x), s["batch_size"], s["steps"], m) for m in range(s["members"])], dim=1)
    start = time.perf_counter()
    for rows in order:
        g = gradients(parameters, buffers, x[rows], y[rows])
        for name in parameters:
            velocity[name].mul_(s["momentum"]).add_(g[name])
            parameters[name].sub_(s["learning_rate"] * velocity[name])
    seconds = time.perf_counter() - start
    first = {name: value[0] for name, value in parameters.items()}
    assert (functional_call(base, first, (x,)).argmax(1) == y).float().mean() > 0.9, "the peer did not learn"
    return seconds


def main() -> None:
    """Measure both, the better of `repeats`."""
    file = np.load(sys.argv[1], allow_pickle=False)
    x, y = torch.from_numpy(file["x"]), torch.from_numpy(file["y"])
    s = json.loads(str(file["settings"]))
    repeats = s["repeats"]
    alone = min(eager(x, y, s) for _ in range(repeats))
    together = min(ensemble(x, y, s) for _ in range(repeats))
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "eager_steps_per_second": s["steps"] / alone,
                "ensemble_steps_per_second": s["members"] * s["steps"] / together,
            }
        )
    )


if __name__ == "__main__":
    main()
