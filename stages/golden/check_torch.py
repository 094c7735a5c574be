"""Checks that the network a model is from, with our weights, gives the embeddings that `embed` gave.

    check_torch.py WEIGHTS SHARDS EMBEDDINGS [--weights best|last] [--tolerance 1e-4]

The three folders are results of `train`, `preprocess` and `embed`. It prints the largest difference,
relative to the longest embedding where they are not normalized, and fails above the tolerance.
Networks are torchvision's ResNet and MobileNetV2, timm's ConvNeXt, and insightface's residual network as
models.py has it. Needs torch, torchvision, numpy, safetensors, and timm for ConvNeXt.
"""

import argparse
import json
from pathlib import Path

import torch
import models
import resnet
import torch.nn.functional as F
from safetensors.torch import load_file


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def network(folder, which):
    """Returns the network of a result of `train`, ready for inference, and its description."""
    described = json.loads((folder / "model.json").read_text())
    (family, table), = described["model"].items()
    if family == "resnet":
        net, _ = resnet.build(table["depth"], table["width"], table["stem"], table["embedding"])
        ours = resnet.our_names(net)
    else:
        assert family in models.FAMILIES, f"no network for {family}"
        net, _ = models.FAMILIES[family](**table)
        ours = models.our_names(net)
    found = load_file(folder / f"{which}.safetensors")
    heads = {"fc.weight", "fc.bias", "head.weight", "head.bias"} - ours.keys()
    assert found.keys() - heads == ours.keys(), found.keys() ^ ours.keys()
    with torch.no_grad():
        for name, tensor in ours.items():
            assert tensor.shape == found[name].shape, name
            tensor.copy_(found[name])
    return net.eval(), described


def images(folder):
    """Returns the path and the pixels of each image of a result of `preprocess`, in order."""
    shards = {}
    for entry in lines(folder / "index.jsonl"):
        number = entry["shard"]
        if number not in shards:
            shards[number] = load_file(folder / "shards" / f"{number:05}.safetensors")["images"]
        yield entry["path"], shards[number][entry["row"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ["weights", "shards", "embeddings"]:
        parser.add_argument(f"{name}_folder", type=Path, metavar=name.upper())
    parser.add_argument("--weights", default="best", choices=["best", "last"])
    parser.add_argument("--tolerance", default=1e-4, type=float)
    options = parser.parse_args()

    net, described = network(options.weights_folder, options.weights)
    mean, std = (torch.tensor(described[name]).view(3, 1, 1) for name in ["mean", "std"])
    facts = json.loads((options.embeddings_folder / "embeddings.json").read_text())
    given = load_file(options.embeddings_folder / "embeddings.safetensors")["embeddings"]
    rows = {row["path"]: row["row"] for row in lines(options.embeddings_folder / "index.jsonl")}

    pictures = list(images(options.shards_folder))
    assert rows.keys() == {path for path, _ in pictures}, "embeddings of other images"
    scale = 1.0 if facts["normalized"] else given.norm(dim=1).max().item()
    largest = 0.0
    with torch.no_grad():
        for start in range(0, len(pictures), 64):
            batch = pictures[start : start + 64]
            x = torch.stack([(pixels.float() / 255 - mean) / std for _, pixels in batch])
            found = net(x) + net(x.flip(3)) if facts["flip"] else net(x)
            if facts["normalized"]:
                found = F.normalize(found)
            expected = given[[rows[path] for path, _ in batch]]
            largest = max(largest, (found - expected).abs().max().item() / scale)
    print(f"{len(pictures)} embeddings of {given.shape[1]} numbers differ by at most {largest:.2e}")
    raise SystemExit(largest > options.tolerance)


if __name__ == "__main__":
    main()
