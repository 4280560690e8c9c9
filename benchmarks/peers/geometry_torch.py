"""The peers in `benchmarks.geometry`: PyHessian, curvlinops and pytorch-hessian-eigenthings, in PyTorch's interpreter.

    python geometry_torch.py PROBLEM.npz  ->  one JSON line on standard output

PROBLEM.npz holds x (n, d) and y (n,); for each activation, relu and tanh, theta (p,), weights and biases from first to
last layer, a direction (p,) and the Hessian's product with it in float64; and the settings, as `benchmarks.geometry`
writes them. Each library is used as its documentation shows. One thread; a unit is one gradient of the full batch.
"""

# pyright: reportMissingImports=false
import importlib.metadata
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import curvlinops
import hessian_eigenthings as eigenthings
import numpy as np
import torch
from pyhessian import hessian
from pyhessian.utils import hessian_vector_product
from scipy.sparse.linalg import eigsh
from torch import nn
from unit_costs import costs, unit_seconds

PACKAGES = ("torch", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings")


class Case(NamedTuple):
    """A piece of work; `call` takes a seed.

    Attributes:
        share: how many results one call gives.
        first: whether a first call does more than the others, and is not counted.
    """

    work: str
    how: str
    call: Callable[[int], Any]
    share: int = 1
    first: bool = False


class Net:
    """A net at given weights, with its loss, its data and the true product of its Hessian with a direction."""

    def __init__(self, file: Any, settings: dict[str, Any], activation: str) -> None:
        sizes = [file["x"].shape[1], *settings["widths"], settings["classes"]]
        between = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), between())]
        self.module = nn.Sequential(*layers[:-1])
        self.parameters = list(self.module.parameters())
        nn.utils.vector_to_parameters(torch.from_numpy(file[f"{activation}_theta"]), self.parameters)
        self.loss = nn.CrossEntropyLoss()
        self.data = torch.from_numpy(file["x"]), torch.from_numpy(file["y"])
        self.direction = torch.from_numpy(file[f"{activation}_direction"]).float()
        self.product = file[f"{activation}_product"]

    def gradient(self) -> Any:
        """The unit."""
        return torch.autograd.grad(self.loss(self.module(self.data[0]), self.data[1]), self.parameters)

    def split(self, v: torch.Tensor) -> list[torch.Tensor]:
        """A flat vector as a list in the parameters' shapes."""
        parts = v.split([q.numel() for q in self.parameters])
        return [part.view_as(q) for part, q in zip(parts, self.parameters, strict=True)]

    def error(self, product: torch.Tensor) -> float:
        """Relative error of a product with the direction."""
        return float(np.linalg.norm(product.numpy() - self.product) / np.linalg.norm(self.product))


def of_pyhessian(net: Net, s: dict[str, Any]) -> Iterator[Case]:
    """Power iteration, Hutchinson's trace until its mean rests, Lanczos for the density."""
    of = hessian(net.module, net.loss, data=net.data, cuda=False)

    def product(seed: int) -> float:
        parts = hessian_vector_product(of.gradsH, of.params, net.split(net.direction))
        return net.error(torch.cat([part.reshape(-1) for part in parts]))

    def density(seed: int) -> float:
        # It calls `torch.eig`, which PyTorch no longer has; the matrix is symmetric.
        torch.eig = lambda matrix, eigenvectors: (lambda w, v: (w[:, None], v))(*torch.linalg.eigh(matrix))
        return float(max(of.density(iter=s["steps"], n_v=1)[0][0]))

    yield Case("product", "", product, first=True)
    yield Case("eigenvalues", "", lambda seed: of.eigenvalues(top_n=s["k"], tol=s["tolerance"])[0])
    yield Case("trace", "its own stopping rule", lambda seed: float(np.mean(of.trace())))
    yield Case("density", "", density)


def of_curvlinops(net: Net, s: dict[str, Any]) -> Iterator[Case]:
    """A linear operator with SciPy's eigensolver (ARPACK), Hutch++, XTrace, and Lanczos after Papyan."""
    of = curvlinops.HessianLinearOperator(
        net.module, net.loss, net.parameters, [net.data], check_deterministic=False, num_data=len(net.data[0])
    )
    several = torch.cat([net.direction[:, None], torch.randn(len(net.direction), s["together"] - 1)], dim=1)

    def eigenvalues(seed: int) -> list[float]:
        found = eigsh(of.to_scipy(), k=s["k"], which="LA", tol=s["tolerance"], return_eigenvectors=False)
        return sorted(map(float, found), reverse=True)

    yield Case("product", "", lambda seed: net.error(of @ net.direction), first=True)
    yield Case("products together", "", lambda seed: net.error((of @ several)[:, 0]), s["together"], True)
    yield Case("eigenvalues", "SciPy's ARPACK", eigenvalues)
    yield Case("trace", "Hutch++, 99 products", lambda seed: float(curvlinops.hutchpp_trace(of, 99)))
    yield Case("trace", "XTrace, 100 products", lambda seed: float(curvlinops.xtrace(of, 100)))
    yield Case("density", "", lambda seed: curvlinops.lanczos_approximate_spectrum(of, ncv=s["steps"]) and None)


def of_eigenthings(net: Net, s: dict[str, Any]) -> Iterator[Case]:
    """Lanczos with as many steps as it is told, Hutchinson, Hutch++, stochastic Lanczos quadrature."""
    of = eigenthings.HessianOperator(net.module, [net.data], eigenthings.supervised_loss(net.loss))

    def pairs(steps: int) -> Any:
        return eigenthings.lanczos(of, k=s["k"], max_iter=steps, tol=s["tolerance"], which="LA", seed=0)

    @cache
    def enough() -> int:
        """It does as many steps as it is told: the fewest, in fives, after which it calls all pairs converged."""
        return next(steps for steps in range(s["k"], 100, 5) if pairs(steps).converged.all())

    def density(seed: int) -> float:
        found = eigenthings.spectral_density(of, num_runs=1, lanczos_steps=s["steps"], seed=seed)
        return float(found.raw_eigenvalues.max())

    def trace(method: str, products: int) -> Callable[[int], float]:
        return lambda seed: eigenthings.trace(of, num_matvecs=products, method=method, seed=seed).estimate

    yield Case("product", "", lambda seed: net.error(of.matvec(net.direction)), first=True)
    yield Case("eigenvalues", "in the fewest steps", lambda seed: pairs(enough()).eigenvalues.tolist(), first=True)
    yield Case("trace", "Hutch++, 99 products", trace("hutch++", 99))
    yield Case("trace", "Hutchinson, 100 products", trace("hutchinson", 100))
    yield Case("density", "", density)


PEERS = {"PyHessian": of_pyhessian, "curvlinops": of_curvlinops, "eigenthings": of_eigenthings}


def main() -> None:
    """All cases of all peers on the ReLU net, and the traces on the tanh net."""
    torch.set_num_threads(1)
    file = np.load(sys.argv[1], allow_pickle=False)
    settings = json.loads(str(file["settings"]))
    rows, seconds = [], []
    for activation, works in settings["works"].items():
        net = Net(file, settings, activation)
        for _ in range(3):
            net.gradient()
        seconds.append(unit_seconds(net.gradient))
        for peer, cases in PEERS.items():
            torch.manual_seed(settings["seeds"][0])  # of the peers that take no seeds
            for case in cases(net, settings):
                if case.work in works:
                    seeds = settings["seeds"][: works[case.work]]
                    if case.first:
                        case.call(seeds[0])
                    found, values = costs(case.call, net.gradient, seeds)
                    row = {"net": activation, "work": case.work, "by": peer, "how": case.how}
                    rows.append(row | {"costs": [c / case.share for c in found], "values": values})
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(json.dumps({"versions": versions, "unit_seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
