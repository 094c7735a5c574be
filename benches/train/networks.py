"""PyTorch's side: the same networks with a batch to learn from, or to embed.

`python3 networks.py THREADS train NETWORK PRECISION LAYOUT` prints how many bytes three steps take.
"""

import sys

import torch
import torch.nn.functional as F
from torchvision.models import mobilenet_v2, resnet18
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from turns import memory

CLASSES, SIDE, BATCH, INFERENCE_BATCH = 100, 112, 32, 64


def convnext_nano(num_classes):
    widths = [80, 160, 320, 640, None]
    blocks = [2, 2, 8, 2]
    stages = [CNBlockConfig(*widths[at : at + 2], count) for at, count in enumerate(blocks)]
    return ConvNeXt(stages, num_classes=num_classes)


NETWORKS = {
    "resnet": lambda: resnet18(num_classes=CLASSES),
    "mobilenet": lambda: mobilenet_v2(num_classes=CLASSES, dropout=0.0),
    "convnext": lambda: convnext_nano(CLASSES),
}


def optimizer(parameters):
    settings = {"lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4}
    try:
        return torch.optim.SGD(parameters, fused=True, **settings)
    except (RuntimeError, TypeError):
        return torch.optim.SGD(parameters, **settings)


def work(what, network, precision, layout):
    """Returns a function that takes one step, or embeds one batch."""
    format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    net = NETWORKS[network]().to(memory_format=format)
    batch = BATCH if what == "train" else INFERENCE_BATCH
    images = torch.randn(batch, 3, SIDE, SIDE).contiguous(memory_format=format)
    halves = precision == "bf16"
    if what == "infer":
        net.fc = torch.nn.Identity()
        net.eval()
        if halves:
            net, images = net.bfloat16(), images.bfloat16()

        def infer():
            with torch.inference_mode():
                net(images)

        return infer
    labels = torch.arange(batch) % CLASSES
    descent = optimizer(net.parameters())
    net.train()

    def step():
        descent.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            loss = F.cross_entropy(net(images), labels)
        loss.backward()
        descent.step()

    return step


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    before = memory("self")
    step = work(*sys.argv[2:])
    for _ in range(3):
        step()
    print(memory("self") - before)
