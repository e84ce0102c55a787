"""torchebm and ebmkit on a problem of ``benchmarks.objectives``, in an interpreter that
has PyTorch.

    python benchmarks/peers_torch.py PROBLEM.npz ANSWER.npz LIBRARY METHOD [options]

The network, 128-128 with SiLU and a confinement of |x|^2 / (2 4^2), the batches, Adam
with its schedule, and the average of the parameters are those of ebmjax's runs.
Objective, sampler and buffer are those of the library, with Langevin steps of 1e-2 and
the matching noise. ``ANSWER`` holds the energies on the grids of the problem, and the
seconds of training.
"""

import argparse
import importlib
import time

import numpy as np
import torch
from torch import nn

EMA, CONFINEMENT, LANGEVIN_STEP, BUFFER = 0.995, 4.0, 1e-2, 8192


class Net(nn.Module):
    """E(x) = net(x) + |x|^2 / (2 s^2), ``[B, widths[0]]`` to ``[B]``."""

    def __init__(self, widths=(2, 128, 128)):
        super().__init__()
        layers = [
            m
            for a, b in zip(widths, widths[1:], strict=False)
            for m in (nn.Linear(a, b), nn.SiLU())
        ]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        for layer in self.net:
            if isinstance(layer, nn.Linear):  # as in Flax
                nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.net(x).squeeze(-1) + 0.5 * (x**2).sum(dim=-1) / CONFINEMENT**2


def of_torchebm(method, options):
    """A model, and its loss of a batch."""
    from torchebm.core import BaseModel
    from torchebm.losses import (
        ContrastiveDivergence,
        DenoisingScoreMatching,
        SlicedScoreMatching,
    )
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            return self.net(x)

    model = Model()
    if method == "pcd":
        sampler = LangevinDynamics(model, step_size=LANGEVIN_STEP, noise_scale=1.0)
        loss = ContrastiveDivergence(
            model,
            sampler,
            k_steps=options.chain_steps,
            persistent=True,
            buffer_size=BUFFER,
        )
    elif method == "sliced":
        loss = SlicedScoreMatching(model, n_projections=1)
    else:
        loss = DenoisingScoreMatching(model, noise_scale=options.noise)

    def of_batch(x):
        found = loss(x)
        return found[0] if isinstance(found, tuple) else found

    return model, of_batch, []


def of_ebmkit(method, options):
    import ebm

    model = Net()
    if method == "pcd":
        sampler = ebm.LangevinDynamics(
            step_size=LANGEVIN_STEP, steps=options.chain_steps
        )
        loss = ebm.ContrastiveDivergence(
            sampler, ebm.ReplayBuffer(BUFFER, (2,)), energy_reg=0.001
        )
    elif method == "sliced":
        loss = ebm.SlicedScoreMatching(n_projections=1)
    elif method == "denoising":
        loss = ebm.DenoisingScoreMatching(sigma=options.noise)
    else:
        loss = ebm.NoiseContrastiveEstimation(noise_ratio=options.noise_ratio)
    return model, lambda x: loss(model, x).loss, list(loss.parameters())


def schedule(step, num_updates):
    """Linear warm-up, constant, and from the middle on linear decay to 2 %."""
    warm, half = min(50, num_updates // 10 + 1), num_updates // 2
    if step < warm:
        return step / warm
    return 1.0 if step < half else 1.0 - 0.98 * min((step - half) / half, 1.0)


def main():
    parser = argparse.ArgumentParser()
    for name in ("problem", "answer", "peer", "method"):
        parser.add_argument(name)
    for name, kind, value in (
        ("seed", int, 0),
        ("num-updates", int, 1500),
        ("batch-size", int, 256),
        ("chain-steps", int, 10),
        ("learning-rate", float, 1e-3),
        ("noise", float, 0.0),
        ("noise-ratio", int, 4),
    ):
        parser.add_argument(f"--{name}", type=kind, default=value)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    problem = np.load(options.problem)
    x = torch.from_numpy(problem["x"])
    importlib.import_module(
        {"ebmkit": "ebm"}.get(options.peer, options.peer)
    )  # not timed
    begin = time.perf_counter()
    build = {"torchebm": of_torchebm, "ebmkit": of_ebmkit}[options.peer]
    model, loss, others = build(options.method, options)
    momentum = 0.0 if options.method == "pcd" else 0.9
    optimizer = torch.optim.Adam(
        [*model.parameters(), *others],
        lr=options.learning_rate,
        betas=(momentum, 0.999),
    )
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: schedule(t + 1, options.num_updates)
    )
    average = [p.detach().clone() for p in model.parameters()]
    for step in range(options.num_updates):
        batch = x[torch.randint(len(x), (options.batch_size,))]
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        rate.step()
        decay = min(EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, p in zip(average, model.parameters(), strict=True):
                a.mul_(decay).add_(p, alpha=1 - decay)
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        for a, p in zip(average, model.parameters(), strict=True):
            p.copy_(a)
        energies = {
            k: model(torch.from_numpy(problem[k])).numpy()
            for k in ("grid", "held", "shown")
        }
    np.savez(options.answer, seconds=seconds, **energies)


if __name__ == "__main__":
    main()
