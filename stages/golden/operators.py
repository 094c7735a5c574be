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


# images, channels and results, kernel, stride, padding, dilation, groups
for case, ((n, h, w, i), o, kernel, stride, padding, dilation, groups) in {
    "one": ((2, 5, 7, 9), 6, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "one-strided": ((2, 7, 6, 12), 5, (1, 1), (2, 2), (0, 0), (1, 1), 1),
    "three": ((2, 6, 5, 17), 35, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "three-strided": ((2, 9, 8, 10), 18, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "three-bare": ((1, 6, 7, 9), 4, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "stem": ((2, 15, 14, 3), 20, (7, 7), (2, 2), (3, 3), (1, 1), 1),
    "far": ((1, 9, 10, 4), 3, (2, 2), (3, 3), (1, 1), (1, 1), 1),
    "patches": ((2, 9, 8, 3), 5, (4, 4), (4, 4), (0, 0), (1, 1), 1),
    "dilated": ((2, 9, 8, 18), 17, (3, 3), (1, 1), (2, 2), (2, 2), 1),
    "oblong": ((2, 7, 9, 6), 5, (1, 5), (2, 1), (0, 2), (1, 1), 1),
    "grouped": ((2, 7, 6, 12), 20, (3, 3), (2, 2), (1, 1), (1, 1), 4),
    "grouped-one": ((1, 4, 3, 21), 14, (1, 1), (1, 1), (0, 0), (1, 1), 7),
    "multiplied": ((1, 5, 6, 4), 8, (3, 3), (1, 1), (1, 1), (1, 1), 4),
    "depthwise": ((2, 7, 6, 37), 37, (3, 3), (1, 1), (1, 1), (1, 1), 37),
    "depthwise-strided": ((2, 9, 8, 33), 33, (3, 3), (2, 2), (1, 1), (1, 1), 33),
    "depthwise-wide": ((1, 8, 9, 20), 20, (7, 7), (1, 1), (3, 3), (1, 1), 20),
    "depthwise-small": ((2, 3, 2, 34), 34, (7, 7), (1, 1), (3, 3), (1, 1), 34),
    "depthwise-dilated": ((1, 8, 7, 5), 5, (3, 3), (1, 2), (2, 1), (2, 3), 5),
}.items():
    x, weight = draw(n, i, h, w), draw(o, i // groups, *kernel)
    bias = draw(o)
    biased = case in ("one", "three", "stem", "grouped", "depthwise-wide")
    y = F.conv2d(x, weight, bias if biased else None, stride, padding, dilation, groups)
    gradient = back(y)
    put(
        f"convolution-{case}",
        x=nhwc(x),
        weight=weight,
        window=torch.tensor([*stride, *padding, *dilation, groups]),
        y=nhwc(y),
        gradient=nhwc(gradient),
        by_x=nhwc(x.grad),
        by_weight=weight.grad,
        **({"bias": bias, "by_bias": bias.grad} if biased else {}),
    )

# the highest number that comes out: 0 for no rectifier at all
for case, (shape, residual, highest) in {
    "plain": ((3, 5, 4, 7), False, 0),
    "relu": ((2, 9, 4, 5), False, torch.inf),
    "relu6": ((2, 9, 4, 5), False, 6),
    "residual": ((2, 6, 5, 3), True, torch.inf),
    "residual6": ((2, 6, 5, 3), True, 6),
    "residual-bare": ((2, 6, 3, 3), True, 0),
    "flat": ((6, 9), False, torch.inf),
}.items():
    x = (draw(*shape) * 2 + 3).detach().requires_grad_()
    channels = shape[1]
    weight, bias = (draw(channels) * 4).detach().requires_grad_(), draw(channels)
    mean, var = draw(channels).detach(), draw(channels).detach().square()
    put(f"batch-norm-{case}", running_mean=mean, running_var=var)
    idle = F.batch_norm(x, mean, var, weight, bias, False)
    y = F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
    more = {}
    if residual:
        added = draw(*shape)
        y, idle = y + added, idle + added
    if highest:
        y, idle = F.hardtanh(y, 0, highest), F.hardtanh(idle, 0, highest)
    gradient = back(y)
    if residual:
        more = {"residual": nhwc(added), "by_residual": nhwc(added.grad)}
    put(
        f"batch-norm-{case}",
        x=nhwc(x),
        weight=weight,
        bias=bias,
        highest=torch.tensor([float(highest)]),
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

for case, (n, h, w, c) in {"narrow": (2, 3, 4, 5), "wide": (2, 3, 1, 83)}.items():
    x, weight, bias = draw(n, h, w, c), draw(c), draw(c)
    y = F.layer_norm(x, (c,), weight, bias, 1e-6)
    gradient = back(y)
    put(
        f"layer-norm-{case}",
        x=x,
        weight=weight,
        bias=bias,
        y=y,
        gradient=gradient,
        by_x=x.grad,
        by_weight=weight.grad,
        by_bias=bias.grad,
    )

x = torch.cat([draw(150), draw(50) * 4, torch.tensor([-0.0, 0.0, 12.0, -12.0, 1e-20, -30.0])])
x = x.detach().float().double().requires_grad_()
y = F.gelu(x)
gradient = back(y)
put("gelu", x=x, y=y, gradient=gradient, by_x=x.grad)

x, slope = draw(2, 5, 3, 4), draw(5)
x.data[0, :, 0, 0] = 0
y = F.prelu(x, slope)
gradient = back(y)
put(
    "prelu",
    x=nhwc(x),
    slope=slope,
    y=nhwc(y),
    gradient=nhwc(gradient),
    by_x=nhwc(x.grad),
    by_slope=slope.grad,
)

x = draw(2, 5, 3, 4)
y = x.flatten(1)
gradient = back(y)
put("flatten", x=nhwc(x), y=y, gradient=gradient, by_x=nhwc(x.grad))

x, branch, scale = draw(2, 3, 4, 5), draw(2, 3, 4, 5), draw(5)
y = x + branch * scale
gradient = back(y)
put(
    "scaled-sum",
    x=x,
    branch=branch,
    scale=scale,
    y=y,
    gradient=gradient,
    by_x=x.grad,
    by_branch=branch.grad,
    by_scale=scale.grad,
)

save_file(tensors, Path(__file__).with_suffix(".safetensors"))
