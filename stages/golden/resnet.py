"""Makes resnet.safetensors: a training step of narrow torchvision ResNets, by training.py.

Needs torch, torchvision, numpy and safetensors; run it from any folder.
"""

from pathlib import Path

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from training import record, save


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


def run(tensors, case, size, stream=1000, **table):
    net, length = build(width=8, **table)
    record(tensors, case, net, our_names(net.double()), length, "fc", (size, size + 5), stream)


if __name__ == "__main__":
    tensors = {}
    run(tensors, "18", 64, depth=18, stem="imagenet", embedding=None)
    run(tensors, "50-small-embedding", 16, 1115, depth=50, stem="small", embedding=12)
    save(tensors, Path(__file__).with_suffix(".safetensors"))
