"""Makes optimizers.safetensors: weights after each step of PyTorch's optimizers on given gradients.

Needs torch, numpy and safetensors; run it from any folder.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

STEPS = 6
SHAPES = {"layer.weight": (4, 3), "layer.bias": (5,)}
torch.manual_seed(12)
first = {name: torch.randn(shape) for name, shape in SHAPES.items()}
gradients = [{name: torch.randn(shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]
rates = [0.1 * (1 - step / STEPS) for step in range(STEPS)]

tensors = {f"first/{name}": value.clone() for name, value in first.items()}
for step, given in enumerate(gradients):
    tensors |= {f"gradient/{step}/{name}": value for name, value in given.items()}
tensors["rates"] = torch.tensor(rates, dtype=torch.float64)


def run(case, optimizer, decayed, weight_decay, **options):
    weights = {name: value.clone().requires_grad_() for name, value in first.items()}
    groups = [
        {
            "params": [weight],
            "weight_decay": weight_decay if decayed == "all" or name.endswith("weight") else 0.0,
        }
        for name, weight in weights.items()
    ]
    stepper = optimizer(groups, lr=1.0, **options)
    for step, (given, rate) in enumerate(zip(gradients, rates)):
        for group in stepper.param_groups:
            group["lr"] = rate
        for name, weight in weights.items():
            weight.grad = given[name].clone()
        stepper.step()
        for name, weight in weights.items():
            tensors[f"{case}/{step}/{name}"] = weight.detach().clone()


SGD, AdamW = torch.optim.SGD, torch.optim.AdamW
run("sgd-plain", SGD, "all", 0.0)
run("sgd", SGD, "all", 0.01, momentum=0.9)
run("sgd-weights", SGD, "weights", 0.3, momentum=0.9)
run("sgd-nesterov", SGD, "all", 0.01, momentum=0.8, nesterov=True)
run("adamw", AdamW, "all", 0.3, betas=(0.9, 0.999), eps=1e-8)
run("adamw-weights", AdamW, "weights", 0.3, betas=(0.8, 0.9), eps=1e-3)
save_file(tensors, Path(__file__).with_suffix(".safetensors"))
