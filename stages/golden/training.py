"""What a forward pass and a training step of a network give, in f64, for resnet.py and models.py.

Weights and images are not kept: they come from the counter-based noise below, which the tests draw as
well. Of each gradient the file keeps the length and a few projections onto noise.

The gradient of a network with rectifiers jumps where a number within crosses 0, so images near such a place
tell nothing about who computes it right in f32. `jump` finds them; which images are taken is written
where a case is run.
"""

import numpy
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

CLASSES, IMAGES, PROJECTIONS = 2, 4, 4
RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.01
# How far images are moved to see whether gradients jump, how often, and how far these may move with them.
NUDGE, NUDGES, STEADY = 1e-6, 12, 8e-4


def noise(stream, *shape):
    """Uniform numbers in [-1, 1): SplitMix64 of a counter that starts at stream * 2^32."""
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        z = numpy.arange(count, dtype=numpy.uint64) + (numpy.uint64(stream) << numpy.uint64(32))
        z += numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z ^= z >> numpy.uint64(31)
    unit = (z >> numpy.uint64(11)).astype(numpy.float64) / 2**53
    return (2 * unit - 1).astype(numpy.float32).astype(numpy.float64).reshape(shape)


def fill(name, tensor, stream):
    drawn = torch.from_numpy(noise(stream, *tensor.shape))
    if "running_mean" in name or name.endswith("bias"):
        drawn = drawn * 0.25
    elif "running_var" in name:
        drawn = 1 + drawn * 0.25
    elif tensor.dim() == 1:
        drawn = 0.5 + drawn * 0.25
    elif tensor.dim() == 4:
        out, _, height, width = tensor.shape
        drawn = drawn * 2.0 / numpy.sqrt(out * height * width)
    else:
        drawn = drawn * 0.5
    tensor.data.copy_(drawn.float().double())



def learn(net, head, trained, images):
    """Goes forward and back; returns the features, the loss and the gradients by name."""
    net.train()
    for tensor in trained.values():
        tensor.grad = None
    features = net(images)
    loss = F.cross_entropy(head(features), torch.arange(IMAGES) % CLASSES)
    loss.backward()
    return features, loss, {name: tensor.grad.clone() for name, tensor in trained.items()}


def jump(net, head, trained, images, gradients):
    """Returns how far a gradient moves, relative to its length, where the images hardly do."""
    longest = max(gradient.norm() for gradient in gradients.values())
    worst = 0.0
    for nudge in range(NUDGES):
        moved = images * (1 + NUDGE * torch.from_numpy(noise(5000 + nudge, *images.shape)))
        _, _, others = learn(net, head, trained, moved)
        for name, gradient in gradients.items():
            unit = max(gradient.norm(), 1e-2 * longest)
            worst = max(worst, float((others[name] - gradient).norm() / unit))
    return worst


def record(tensors, case, net, named, length, prefix, image, stream=1000):
    """Adds a case of a network, whose weights have these names of ours, to what is written."""
    head = nn.Linear(length, CLASSES).double()
    for name, tensor in head.state_dict(keep_vars=True).items():
        named[f"{prefix}.{name}"] = tensor
    named = {name: tensor for name, tensor in named.items() if "tracked" not in name}
    for index, name in enumerate(sorted(named)):
        fill(name, named[name], index)
    images = torch.from_numpy(noise(stream, IMAGES, 3, *image))
    trained = {name: tensor for name, tensor in named.items() if tensor.requires_grad}

    net.eval()
    tensors[f"{case}/before"] = net(images)
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    _, _, gradients = learn(net, head, trained, images)
    moved = jump(net, head, trained, images, gradients)
    assert moved < STEADY, f"{case}: gradients move by {moved}: take other images"
    net.load_state_dict(kept)
    features, loss, gradients = learn(net, head, trained, images)
    tensors[f"{case}/training"], tensors[f"{case}/loss"] = features, loss
    for index, (name, gradient) in enumerate(sorted(gradients.items())):
        lines = torch.from_numpy(noise(2000 + index, PROJECTIONS, gradient.numel()))
        figures = [gradient.norm()[None], lines @ gradient.flatten()]
        tensors[f"{case}/gradient/{name}"] = torch.cat(figures)
    torch.optim.SGD(trained.values(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY).step()
    net.eval()
    tensors[f"{case}/after"] = net(images)


def save(tensors, path):
    arrays = {name: value.detach().numpy().astype("float32") for name, value in tensors.items()}
    save_file(arrays, path)
