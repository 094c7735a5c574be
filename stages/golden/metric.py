"""Makes closed_set.json with scikit-learn and scipy, and retrieval.json with pytorch-metric-learning."""

import json
import pathlib

import numpy
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

HERE = pathlib.Path(__file__).parent
random = numpy.random.default_rng(5)


def rounded(values):
    return numpy.round(values, 4).astype(numpy.float32)


def closed_set():
    labels = random.integers(0, 9, 40)  # of ten classes, so that the last one never occurs
    logits = rounded(2 * random.standard_normal((40, 10)))
    logits[numpy.arange(40), labels] += 1.5
    logits = rounded(logits)
    shares = numpy.exp(logits.astype(numpy.float64))
    shares /= shares.sum(1, keepdims=True)
    classes = list(range(10))
    return {
        "logits": [[round(float(x), 4) for x in row] for row in logits],
        "labels": labels.tolist(),
        "first": top_k_accuracy_score(labels, logits, k=1, labels=classes),
        "five": top_k_accuracy_score(labels, logits, k=5, labels=classes),
        "balanced": balanced_accuracy_score(labels, logits.argmax(1)),
        "loss": log_loss(labels, shares, labels=classes),
        "wilson": [
            (right, count, *binomtest(right, count).proportion_ci(method="wilson"))
            for right, count in [(0, 10), (10, 10), (1, 3), (432, 720), (25_000, 35_005)]
        ],
    }


def retrieval():
    labels = numpy.repeat(numpy.arange(7), [1, 2, 3, 4, 5, 6, 7])
    random.shuffle(labels)
    centres = random.standard_normal((7, 4))
    embeddings = centres[labels] + 0.8 * random.standard_normal((len(labels), 4))
    embeddings = rounded(embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True))
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
        device=torch.device("cpu"),
    )
    figures = calculator.get_accuracy(torch.tensor(embeddings), torch.tensor(labels))
    return {
        "embeddings": [[round(float(x), 4) for x in row] for row in embeddings],
        "labels": labels.tolist(),
        "first": figures["precision_at_1"],
        "average_precision": figures["mean_average_precision_at_r"],
    }


for make in closed_set, retrieval:
    (HERE / f"{make.__name__}.json").write_text(json.dumps(make()) + "\n")
