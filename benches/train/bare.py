"""What is neither a network nor images: matching, thresholds, statistics, digests, and the roofs over all."""

import sys
import tempfile

import numpy as np
import torch

from turns import Pipe, take_turns, timed

KNOWN, UNKNOWN, DIMENSION = 100_000, 10_000, 512
SCORES = 10_000_000
IMAGES, SIDE = 10_000, 112
FILE = 1 << 30
MATRIX = 1536


def matching():
    draw = lambda rows: torch.nn.functional.normalize(torch.rand(rows, DIMENSION) - 0.5)
    known, unknown = draw(KNOWN).T.contiguous(), draw(UNKNOWN)

    def run():
        # some rows at a time: all products would take 4 GB
        for rows in unknown.split(1000):
            (rows @ known).max(dim=1)

    return {"PyTorch (matmul, max)": run}


def threshold():
    """Of sorted scores the running sum of what rejecting each gains; where it is highest."""
    random = np.random.default_rng(0)
    scores, gains = random.random(SCORES), random.integers(-1, 2, SCORES).astype(np.int8)
    tensors = torch.from_numpy(scores), torch.from_numpy(gains)

    def by_numpy():
        order = np.argsort(scores)
        return scores[order[np.cumsum(gains[order], dtype=np.int64).argmax()]]

    def by_torch():
        ordered, order = torch.sort(tensors[0])
        return ordered[torch.cumsum(tensors[1][order], 0).argmax()]

    return {"NumPy (argsort, cumsum)": by_numpy, "PyTorch (sort, cumsum)": by_torch}


def channels():
    images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)

    def run():
        sums, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        # few images at a time: of what was tried, in f64 or at once, this is the fastest
        for some in images.split(10):
            some = some.float()
            sums += some.sum((0, 2, 3))
            squares += (some * some).sum((0, 2, 3))

    return {"PyTorch (sums)": run}


def against(pipe, work, others, options):
    contenders = {"pipe": lambda: pipe.run(work)}
    contenders |= {name: lambda run=run: timed(run) for name, run in others.items()}
    return take_turns(contenders, options.rounds, options.limit)


def digest(_, options, program):
    """A file of a gibibyte that is in memory, beside the library that b3sum is made of."""
    try:
        from blake3 import blake3
    except ImportError:
        print("no digest is measured: `pip install blake3` first", file=sys.stderr)
        return None
    program = Pipe(program, options.threads)
    with tempfile.NamedTemporaryFile() as file:
        random = np.random.default_rng(0)
        for _ in range(64):
            file.write(random.bytes(FILE // 64))
        file.flush()
        theirs = lambda: blake3(max_threads=options.threads).update_mmap(file.name).hexdigest()
        if program.run(file.name)["digest"] != theirs():
            sys.exit("the digests differ")
        found = against(program, file.name, {"blake3 (mmap)": theirs}, options)
    program.close()
    return found


def measure(work, others):
    return lambda pipe, options, _: against(pipe, work, others(), options)


# what it is called, how it is measured, and how much it does: products of two numbers, or bytes
WORKS = {
    "match": (
        f"1:N matching, {UNKNOWN:,} of {KNOWN:,}, {DIMENSION} numbers",
        measure("match", matching),
        {"products": KNOWN * UNKNOWN * DIMENSION},
    ),
    "threshold": (f"best threshold of {SCORES:,} scores", measure("threshold", threshold), {}),
    "statistics": (
        f"mean and deviation of {IMAGES:,} images of {SIDE}x{SIDE}",
        measure("statistics", channels),
        {"bytes": IMAGES * 3 * SIDE * SIDE},
    ),
    "digest": ("digest of a file of 1 GiB", digest, {"bytes": FILE}),
}


def roofs(pipe):
    """Returns GFLOP/s in registers alone, of pipe's product and of PyTorch's, and GB/s of a copy.

    The best of several: a roof is what can be reached.
    """
    a, b = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    big, other = torch.randn(32 << 20), torch.empty(32 << 20)
    registers, halves, ours, theirs, copy = [], [], [], [], []
    for _ in range(12):
        for rates, precision in ((registers, "f32"), (halves, "bf16")):
            taken = pipe.run(f"registers {precision}")
            rates.append(taken["operations"] / taken["wall"] / 1e9)
        ours.append(2 * MATRIX**3 / pipe.run("product")["wall"] / 1e9)
        theirs.append(2 * MATRIX**3 / timed(lambda: a @ b)["wall"] / 1e9)
        copy.append(2 * big.numel() * 4 / timed(lambda: other.copy_(big))["wall"] / 1e9)
    return {
        "registers": max(registers), "bf16 registers": max(halves), "pipe": max(ours), "PyTorch": max(theirs),
        "copy": max(copy),
    }
