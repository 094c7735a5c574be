"""Writes operators.safetensors: values and gradients of the training operators from PyTorch.

    python operators.py

Images are NHWC, weights in PyTorch's own layout; everything is worked out in f64 and written as
f32. Needs torch and safetensors.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

torch.manual_seed(7)
tensors = {}


def draw(*shape):
    # rounded to f32 first, so that what is written is exactly what was computed with
    return torch.randn(*shape).double().requires_grad_()


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def put(case, **named):
    for name, tensor in named.items():
        tensors[f"{case}.{name}"] = tensor.detach().to(torch.float32).contiguous()


def back(y):
    gradient = torch.randn(*y.shape).double()
    y.backward(gradient)
    return gradient


for case, (n, h, w, i, o, kernel, stride, padding) in {
    "one": (2, 5, 7, 9, 6, 1, 1, 0),
    "one-strided": (2, 7, 6, 12, 5, 1, 2, 0),
    "three": (2, 6, 5, 17, 35, 3, 1, 1),
    "three-strided": (2, 9, 8, 10, 18, 3, 2, 1),
    "three-bare": (1, 6, 7, 9, 4, 3, 1, 0),
    "stem": (2, 15, 14, 3, 20, 7, 2, 3),
    "far": (1, 9, 10, 4, 3, 2, 3, 1),
}.items():
    x, weight = draw(n, i, h, w), draw(o, i, kernel, kernel)
    y = F.conv2d(x, weight, stride=stride, padding=padding)
    gradient = back(y)
    put(
        f"convolution-{case}",
        x=nhwc(x),
        weight=weight,
        window=torch.tensor([stride, padding]),
        y=nhwc(y),
        gradient=nhwc(gradient),
        by_x=nhwc(x.grad),
        by_weight=weight.grad,
    )

for case, (shape, residual, relu) in {
    "plain": ((3, 5, 4, 7), False, False),
    "relu": ((2, 9, 4, 5), False, True),
    "residual": ((2, 6, 5, 3), True, True),
    "residual-bare": ((2, 6, 3, 3), True, False),
    "flat": ((6, 9), False, True),
}.items():
    x = (draw(*shape) * 2 + 3).detach().requires_grad_()
    channels = shape[1]
    weight, bias = draw(channels), draw(channels)
    mean, var = draw(channels).detach(), draw(channels).detach().square()
    put(f"batch-norm-{case}", running_mean=mean, running_var=var)
    idle = F.batch_norm(x, mean, var, weight, bias, False)
    y = F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
    more = {}
    if residual:
        added = draw(*shape)
        y, idle = y + added, idle + added
    if relu:
        y, idle = y.relu(), idle.relu()
    gradient = back(y)
    if residual:
        more = {"residual": nhwc(added), "by_residual": nhwc(added.grad)}
    put(
        f"batch-norm-{case}",
        x=nhwc(x),
        weight=weight,
        bias=bias,
        relu=torch.tensor([relu]),
        y=nhwc(y),
        idle=nhwc(idle),
        gradient=nhwc(gradient),
        by_x=nhwc(x.grad),
        by_weight=weight.grad,
        by_bias=bias.grad,
        next_mean=mean,
        next_var=var,
        **more,
    )

for case, (h, w, kernel, stride, padding) in {
    "stem": (9, 12, 3, 2, 1),
    "even": (8, 7, 2, 2, 0),
    "close": (5, 6, 3, 1, 1),
}.items():
    # few different values, so that there are ties
    x = torch.randint(-3, 4, (2, 5, h, w)).double().requires_grad_()
    y = F.max_pool2d(x, kernel, stride, padding)
    gradient = back(y)
    put(
        f"max-pool-{case}",
        x=nhwc(x),
        window=torch.tensor([kernel, stride, padding]),
        y=nhwc(y),
        gradient=nhwc(gradient),
        by_x=nhwc(x.grad),
    )

x = draw(3, 6, 5, 4)
y = x.mean((2, 3))
gradient = back(y)
put("average-pool", x=nhwc(x), y=y, gradient=gradient, by_x=nhwc(x.grad))

for case, (n, i, o, biased) in {"biased": (5, 19, 7, True), "bare": (3, 8, 33, False)}.items():
    x, weight, bias = draw(n, i), draw(o, i), draw(o)
    y = F.linear(x, weight, bias if biased else None)
    gradient = back(y)
    more = {"bias": bias, "by_bias": bias.grad} if biased else {}
    put(
        f"linear-{case}",
        x=x,
        weight=weight,
        y=y,
        gradient=gradient,
        by_x=x.grad,
        by_weight=weight.grad,
        **more,
    )

x = torch.tensor([-2.0, -0.0, 0.0, 1.0, 3.0]).double().requires_grad_()
y = x.relu()
gradient = back(y)
put("relu", x=x, y=y, gradient=gradient, by_x=x.grad)

save_file(tensors, Path(__file__).with_suffix(".safetensors"))
