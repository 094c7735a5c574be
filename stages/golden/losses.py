"""Makes losses.safetensors: losses and their gradients by PyTorch and pytorch-metric-learning, in f64.

Needs torch, numpy, safetensors and pytorch-metric-learning; run it from any folder.
"""

from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss
from safetensors.numpy import save_file

ROWS, WIDTH, CLASSES = 9, 6, 5
torch.manual_seed(11)
tensors = {}


def keep(case, loss, logits, labels, leaves):
    loss.backward()
    tensors[f"{case}/loss"] = loss
    tensors[f"{case}/logits"] = logits
    tensors[f"{case}/labels"] = labels
    for name, leaf in leaves.items():
        tensors[f"{case}/{name}"] = leaf
        tensors[f"{case}/{name}.gradient"] = leaf.grad


def leaf(*shape):
    # Rounded to f32, so that both sides start from the same numbers.
    return torch.randn(*shape).double().requires_grad_()


for case, smoothing in [("cross-entropy", 0.0), ("cross-entropy-smoothed", 0.1)]:
    embeddings, weight, bias = leaf(ROWS, WIDTH), leaf(CLASSES, WIDTH), leaf(CLASSES)
    labels = torch.randint(CLASSES, (ROWS,))
    logits = embeddings @ weight.T + bias
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    leaves = {"embeddings": embeddings, "fc.weight": weight, "fc.bias": bias}
    keep(case, loss, logits, labels, leaves)


def angular(case, margin, scale, way):
    weight, embeddings = leaf(CLASSES, WIDTH), leaf(ROWS, WIDTH)
    labels = torch.randint(CLASSES, (ROWS,))
    with torch.no_grad():
        # Two rows almost opposite to their class, beyond pi - margin, and one almost on it.
        embeddings[:2] = -weight[labels[:2]] + 0.1 * embeddings[:2]
        embeddings[2] = weight[labels[2]] + 0.1 * embeddings[2]
        embeddings.copy_(embeddings.float().double())
    cosines = F.normalize(embeddings) @ F.normalize(weight).T
    angles = torch.acos(cosines.detach()[torch.arange(ROWS), labels])
    assert (angles[:2] > torch.pi - margin).all()
    if way == "metric-learning":
        oracle = ArcFaceLoss(CLASSES, WIDTH, margin=numpy.rad2deg(margin), scale=scale).double()
        oracle.W = torch.nn.Parameter(weight.detach().T.clone())
        loss = oracle(embeddings, labels)
        loss.backward()
        weight.grad = oracle.W.grad.T.contiguous()
        loss = loss.detach().requires_grad_()
    else:
        own = F.one_hot(labels, CLASSES).bool()
        theta = torch.acos(cosines)
        shifted = torch.cos(theta + margin)
        if way == "easy":
            target = torch.where(cosines > 0, shifted, cosines)
        elif way == "detached":
            paper = cosines - margin * numpy.sin(margin)
            target = torch.where(theta <= torch.pi - margin, shifted, paper)
            target = cosines + (target - cosines).detach()
        loss = F.cross_entropy(scale * torch.where(own, target, cosines), labels)
    leaves = {"embeddings": embeddings, "head.weight": weight}
    keep(case, loss, scale * cosines, labels, leaves)


angular("arcface", 0.5, 64.0, "metric-learning")
angular("arcface-wide", 0.8, 16.0, "metric-learning")
angular("arcface-easy", 0.5, 30.0, "easy")
angular("arcface-detached", 0.5, 30.0, "detached")

arrays = {
    name: value.detach().numpy().astype("int64" if name.endswith("labels") else "float32")
    for name, value in tensors.items()
}
save_file(arrays, Path(__file__).with_suffix(".safetensors"))
