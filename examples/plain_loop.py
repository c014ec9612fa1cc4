"""A plain PyTorch loop that takes part in a search by three lines, marked (1) to (3).

python examples/plain_loop.py
autobatch search ... -- python examples/plain_loop.py
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autobatch


def main() -> None:
    """Train a small network for one epoch."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(4096, 32), torch.randint(0, 4, (4096,)))
    model = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    with autobatch.probe() as p:  # (1)
        micro_batch = p.setting("per_device_train_batch_size", 16)
        accumulation = p.setting("gradient_accumulation_steps", 4)
        workers = p.setting("dataloader_num_workers", 0)
        loader = DataLoader(data, batch_size=micro_batch, shuffle=True, drop_last=True, num_workers=workers)
        for number, (inputs, labels) in enumerate(p.batches(loader), start=1):  # (2)
            loss = nn.functional.cross_entropy(model(inputs), labels) / accumulation
            loss.backward()
            if number % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
                p.step(loss)  # (3)
    print(f"trained: {number} micro-batches, loss {accumulation * loss.item():.3f}")


if __name__ == "__main__":
    main()
