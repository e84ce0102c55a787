"""Persistent training with torchebm, with the loop of its documentation, under PyTorch.

    python benchmarks/train_torch.py [options]

For each input line it makes ``--num-updates`` updates and prints their seconds.
"""

import argparse
import sys
import time
import warnings

import torch
from peers_torch import LANGEVIN_STEP, Net
from torchebm.core import BaseModel
from torchebm.losses import ContrastiveDivergence
from torchebm.samplers import LangevinDynamics


class Model(BaseModel):
    def __init__(self, widths):
        super().__init__()
        self.net = Net(widths)

    def forward(self, x):
        return self.net(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 128, 128])
    parser.add_argument("--is-compiled", action="store_true")
    for name, value in (
        ("num-threads", 1),
        ("num-updates", 50),
        ("batch-size", 256),
        ("chain-steps", 20),
        ("buffer-size", 8192),
        ("num-points", 10_000),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(options.num_threads)
    data = torch.randn(options.num_points, options.widths[0])
    model = Model(options.widths)
    if options.is_compiled:
        model.net = torch.compile(model.net)
    loss = ContrastiveDivergence(
        model,
        LangevinDynamics(model, step_size=LANGEVIN_STEP, noise_scale=1.0),
        k_steps=options.chain_steps,
        persistent=True,
        buffer_size=options.buffer_size,
        init_steps=0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.0, 0.999))
    for _ in sys.stdin:
        begin = time.perf_counter()
        for _ in range(options.num_updates):
            batch = data[torch.randint(len(data), (options.batch_size,))]
            optimizer.zero_grad()
            loss(batch)[0].backward()
            optimizer.step()
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
