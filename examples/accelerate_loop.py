"""An Accelerate loop that takes part in a search by three lines, marked (1) to (3).

python examples/accelerate_loop.py
autobatch search ... -- python examples/accelerate_loop.py
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
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
        precision = p.setting("precision", "fp32")
        accelerator = Accelerator(
            gradient_accumulation_steps=p.setting("gradient_accumulation_steps", 4),
            mixed_precision=precision if precision in {"bf16", "fp16"} else "no",
        )
        loader = DataLoader(data, batch_size=micro_batch, shuffle=True, drop_last=True)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        for inputs, labels in p.batches(loader):  # (2)
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), labels)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                p.step(loss)  # (3)
    accelerator.print(f"trained: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
