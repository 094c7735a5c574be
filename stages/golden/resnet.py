"""Makes resnet.safetensors: forward passes and a training step of narrow torchvision ResNets, in f64.

Weights and images are not kept: they come from the counter-based noise below, which the test draws as
well. Of each gradient the file keeps the length and a few projections onto noise.
Needs torch, torchvision, numpy and safetensors; run it from any folder.
"""

from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

CLASSES, IMAGES, PROJECTIONS = 2, 4, 4
RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.01


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


class Narrow(ResNet):
    """torchvision's ResNet with another number of channels."""

    def __init__(self, block, layers, width):
        self.width = width
        super().__init__(block, layers)

    def _make_layer(self, block, planes, *rest, **options):
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, *rest, **options)


DEPTHS = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
}


def build(depth, width, stem, embedding):
    """Returns the network of a `model.resnet` table, and how long its embeddings are."""
    block, layers = DEPTHS[depth]
    net = Narrow(block, layers, width)
    net.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    if stem == "small":
        net.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    channels = width * 8 * block.expansion
    net.fc = nn.Identity()
    if embedding:
        linear = nn.Linear(channels, embedding, bias=False)
        net.fc = nn.Sequential(linear, nn.BatchNorm1d(embedding))
    return net, embedding or channels


def our_names(net):
    """Returns the weights of a network by our names: what torchvision calls `fc` is `embedding`."""
    weights = net.state_dict(keep_vars=True)
    return {name.replace("fc.", "embedding."): tensor for name, tensor in weights.items()}


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



tensors = {}


def run(case, size, **table):
    net, length = build(width=8, **table)
    head = nn.Linear(length, CLASSES).double()
    named = our_names(net.double())
    for name, tensor in head.state_dict(keep_vars=True).items():
        named[f"fc.{name}"] = tensor
    named = {name: tensor for name, tensor in named.items() if "tracked" not in name}
    for stream, name in enumerate(sorted(named)):
        fill(name, named[name], stream)
    images = torch.from_numpy(noise(1000, IMAGES, 3, size, size + 5))
    labels = torch.arange(IMAGES) % CLASSES
    trained = {name: tensor for name, tensor in named.items() if "running" not in name}

    net.eval()
    tensors[f"{case}/before"] = net(images)
    net.train()
    features = net(images)
    loss = F.cross_entropy(head(features), labels)
    loss.backward()
    tensors[f"{case}/training"], tensors[f"{case}/loss"] = features, loss
    for stream, name in enumerate(sorted(trained)):
        gradient = trained[name].grad
        shape = (PROJECTIONS, gradient.numel())
        lines = torch.from_numpy(noise(2000 + stream, *shape))
        figures = [gradient.norm()[None], lines @ gradient.flatten()]
        tensors[f"{case}/gradient/{name}"] = torch.cat(figures)
    torch.optim.SGD(trained.values(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY).step()
    net.eval()
    tensors[f"{case}/after"] = net(images)


if __name__ == "__main__":
    run("18", 64, depth=18, stem="imagenet", embedding=None)
    run("50-small-embedding", 16, depth=50, stem="small", embedding=12)
    arrays = {name: value.detach().numpy().astype("float32") for name, value in tensors.items()}
    save_file(arrays, Path(__file__).with_suffix(".safetensors"))
