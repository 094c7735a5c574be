"""Makes models.safetensors: as resnet.py by training.py, of torchvision's MobileNetV2, timm's ConvNeXt and insightface's
residual network, which is written down here once more.

Needs torch, torchvision, timm, numpy and safetensors; run it from any folder.
"""

from pathlib import Path

from torch import nn
from training import record, save


class FaceBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x):
        straight = x if self.downsample is None else self.downsample(x)
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + straight


class FaceNet(nn.Module):
    """The network of arcface_torch/backbones/iresnet.py, of any width."""

    BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 14, 3], 100: [3, 13, 30, 3]}

    def __init__(self, depth, width=64, embedding=512, size=112, head="flat"):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(width), nn.PReLU(width)
        channels = width
        for stage, count in enumerate(self.BLOCKS[depth]):
            blocks = []
            for index in range(count):
                blocks.append(FaceBlock(channels, width << stage, 1 if index else 2))
                channels = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            size = -(-size // 2)
        self.flat = head == "flat"
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * size * size if self.flat else channels, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self.features.weight.requires_grad = False

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        x = self.bn2(x)
        return self.features(self.fc(x.flatten(1) if self.flat else x.mean((2, 3))))


def embedded(net, channels, embedding):
    """Puts an embedding, or nothing, where torchvision's network has its classifier."""
    if not embedding:
        return nn.Identity(), channels
    norm = nn.BatchNorm1d(embedding)
    return nn.Sequential(nn.Linear(channels, embedding, bias=False), norm), embedding


def mobilenet_v2(width=1.0, embedding=None, **_):
    from torchvision.models import mobilenet_v2

    net = mobilenet_v2(width_mult=width)
    # the dropout before it is part of the classifier
    net.classifier, length = embedded(net, net.last_channel, embedding)
    return net, length


def convnext(size, embedding=None, **_):
    import timm

    net = timm.create_model(f"convnext_{size}", num_classes=0)
    net.head.fc, length = embedded(net, net.num_features, embedding)
    return net, length


def iresnet(depth, width=64, embedding=512, size=112, head="flat", **_):
    return FaceNet(depth, width, embedding, size, head), embedding


FAMILIES = {"mobilenet-v2": mobilenet_v2, "convnext": convnext, "iresnet": iresnet}


def our_names(net):
    """Returns the weights of a network by our names."""
    weights = net.state_dict(keep_vars=True)
    swapped = {"classifier.": "embedding.", "head.fc.": "embedding."}
    names = {}
    for name, tensor in weights.items():
        for theirs, ours in swapped.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
        names[name] = tensor
    return names


def run(tensors, case, family, image, stream=1000, **table):
    net, length = FAMILIES[family](**table)
    # insightface calls the layer of the embedding `fc`
    prefix = "head" if family == "iresnet" else "fc"
    record(tensors, case, net, our_names(net.double()), length, prefix, image, stream)


if __name__ == "__main__":
    tensors = {}
    run(tensors, "mobilenet-v2", "mobilenet-v2", (64, 69), 1147, width=0.25)
    run(tensors, "convnext", "convnext", (64, 69), size="atto")
    run(tensors, "iresnet", "iresnet", (32, 32), depth=18, width=8, embedding=12, size=32)
    save(tensors, Path(__file__).with_suffix(".safetensors"))
