"""Measures training on the CPU beside PyTorch: `python3 benches/train --out docs/measured/training-cpu.md`.

Builds pipe, starts benches/train/main.rs and lets it, and PyTorch with both layouts, take turns on the same
number of threads. Needs torch and torchvision, and blake3 for one row; takes about eight minutes.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

import torch
import torchvision

import bare
import data
import networks
from turns import Pipe, memory, take_turns, timed

WORKS = {
    f"{work} {precision}": f"{what}, {precision}"
    for precision in ("f32", "bf16")
    for work, what in {
        "train resnet": "ResNet-18, training step, batch 32",
        "train mobilenet": "MobileNetV2, training step, batch 32",
        "train convnext": "ConvNeXt-nano, training step, batch 32",
        "infer resnet": "ResNet-18, inference, batch 64",
    }.items()
}


def build(profile):
    """Builds all programs at once, so that no library is built twice; returns where each is, by name."""
    targets = ["-p", "pipe", "--bin", "pipe", "-p", "stages", "--bench", "train", "-p", "cache", "--bench", "digest"]
    command = ["cargo", "build", "--profile", profile, *targets, "--message-format=json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["target"]["name"]: one["executable"] for one in messages if one.get("executable")}


def against_torch(pipe, work, options):
    contenders = {"pipe": lambda: pipe.run(work)}
    for layout in ("NCHW", "channels_last"):
        step = networks.work(*work.split(), layout)
        contenders[layout] = lambda step=step: timed(step)
    return take_turns(contenders, options.rounds, options.limit)


def memories(program, work, threads):
    """Returns the bytes that three steps take beyond what a process has before, by contender."""
    pipe = Pipe(program, threads)
    pipe.run("forget")
    before = memory(pipe.process.pid)
    for _ in range(3):
        pipe.run(work)
    taken = {"pipe": memory(pipe.process.pid) - before}
    pipe.close()
    script = os.path.join(os.path.dirname(__file__), "networks.py")
    for layout in ("NCHW", "channels_last"):
        command = [sys.executable, script, str(threads), *work.split(), layout]
        taken[layout] = int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return taken


def profile(pipe, work, rounds=3):
    """Returns the median seconds of a step, and of each operator forward and back."""
    runs = [pipe.run(f"profile-{work}") for _ in range(rounds)]
    wall = statistics.median(run["wall"] for run in runs)
    shares = {}
    for name, share in runs[0]["shares"].items():
        each = [run["shares"][name] for run in runs]
        forward, backward = (
            statistics.median(one[way] for one in each) for way in ("forward", "backward")
        )
        shares[name] = (forward, backward, share["products"])
    return wall, shares


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def milliseconds(seconds):
    return f"{1000 * seconds:.1f} ms"


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def highest(roofs):
    """Returns the most GFLOP/s that anything reached: a roof is what can be reached."""
    return max(roofs[name] for name in ("registers", "pipe", "PyTorch"))


def others(found, roofs):
    """Returns the rows of what is neither a network nor images."""
    for work, taken in found.items():
        what, _, amount = bare.WORKS[work]
        name, best = min(
            ((name, one) for name, one in taken.items() if name != "pipe"), key=lambda item: item[1]["wall"]
        )
        pipe = taken["pipe"]
        speed = ""
        if "products" in amount:
            rate = 2 * amount["products"] / pipe["wall"] / 1e9
            speed = f"{rate:.0f} GFLOP/s, {100 * rate / highest(roofs):.0f} % of the peak"
        if "bytes" in amount:
            speed = f"{amount['bytes'] / pipe['wall'] / 1e9:.1f} GB/s"
        cells = [f"{milliseconds(one['wall'])}, {milliseconds(one['cpu'])}" for one in (pipe, best)]
        ratios = [best[key] / pipe[key] for key in ("wall", "cpu")]
        yield [what, cells[0], f"{name}: {cells[1]}", f"**{ratios[0]:.2f}x**, {ratios[1]:.2f}x", speed]


def report(options, results, needs, rates, found, profiles, roofs):
    yield "# Training on the CPU, beside PyTorch\n"
    yield (
        f"Made by `just bench-train` on {datetime.date.today()}: {processor()}, {os.cpu_count()} cores, "
        f"{options.threads} thread{'s' * (options.threads > 1)} on each side; PyTorch {torch.__version__}, torchvision "
        f"{torchvision.__version__}, Python {platform.python_version()}.\n"
    )
    rows = []
    for work, taken in results.items():
        best = min((taken["NCHW"], taken["channels_last"]), key=lambda one: one["wall"])
        cells = [f"{milliseconds(one['wall'])}, {milliseconds(one['cpu'])}" for one in taken.values()]
        ratios = [best[key] / taken["pipe"][key] for key in ("wall", "cpu")]
        rows.append([WORKS[work], *cells, f"**{ratios[0]:.2f}x**, {ratios[1]:.2f}x"])
    if rows:
        yield (
            "Images of 112x112, 100 classes, SGD with momentum (PyTorch's fused, where it has it). With bf16 PyTorch "
            "trains under autocast, and embeds with a network made bf16. The three "
            f"take turns in one run; medians of up to {options.rounds} turns. Wall time, then processor time.\n"
        )
        yield table(
            ["work", "pipe", "PyTorch NCHW", "PyTorch channels_last", "pipe is faster than the better by"], rows
        )
    if needs:
        yield (
            "The most memory of a process that takes three steps, beyond what it has before (PyTorch's libraries "
            "are not counted):\n"
        )
        rows = [
            [WORKS[work], *(f"{taken / 1e6:.0f} MB" for taken in one.values())]
            + [f"**{one['pipe'] / min(one['NCHW'], one['channels_last']):.2f}x**"]
            for work, one in needs.items()
        ]
        yield table(["work", "pipe", "PyTorch NCHW", "PyTorch channels_last", "pipe needs, of the better"], rows)
    if rates:
        yield "Images per second without a network, wall time:\n"
    rows = [
        [what, f"{rate['pipe']:.0f}", f"{rate['torch']:.0f}", f"**{rate['pipe'] / rate['torch']:.2f}x**"]
        for what, rate in rates.items()
    ]
    if rates:
        yield table(["work", "pipe", "torchvision", "pipe is faster by"], rows)
        yield (
            "About two thirds of the processor time of preprocess is decoding. "
            "pipe's figure includes its start, the digests of all files before and "
            "after, and their way to the disk, of which the other does nothing.\n"
        )
    if found:
        yield (
            "Neither networks nor files of images; wall time, then processor time, the better of the others where "
            "there are two. Matching is exact: products in f32 leave few candidates, which are compared in f64. The "
            "digest and the statistics read their bytes once; the "
            f"copy of 128 MiB by PyTorch, which reads and writes, moves {roofs['copy']:.1f} GB/s here.\n"
        )
        head = ["work", "pipe", "the other", "pipe is faster by", "pipe's speed"]
        yield table(head, others(found, roofs))
    if not profiles:
        return
    peaks = {"f32": highest(roofs), "bf16": roofs["bf16 registers"]}
    peak = peaks["f32"]
    yield (
        "## Where the time goes\n\nOne step of pipe's, by operator. The roofline: the most that was seen "
        "here is "
        f"{peak:.0f} GFLOP/s of f32, the highest of a loop that multiplies and adds in registers alone "
        f"({roofs['registers']:.0f}), pipe's product of two matrices of {bare.MATRIX} ({roofs['pipe']:.0f}) and "
        f"PyTorch's ({roofs['PyTorch']:.0f}), all on as many threads; with bf16 the registers alone reach "
        f"{peaks['bf16']:.0f}; a copy of 128 MiB moves {roofs['copy']:.1f} GB/s; an operator with fewer than "
        f"{peak / roofs['copy']:.0f} floating-point operations for each byte it moves to and from memory cannot "
        "reach the former. A 3x3 convolution with stride 1 does 2.25 "
        "times fewer operations of f32 than are counted here (Winograd), so it may pass 100 %. `rest` is the loss, the "
        "optimizer and whatever lies between operators.\n"
    )
    for work, (wall, shares) in profiles.items():
        yield f"### {WORKS[work]}: {milliseconds(wall)}\n"
        rows, rest, peak = [], wall, peaks[work.split()[-1]]
        for name, (forward, backward, products) in sorted(
            shares.items(), key=lambda item: -item[1][0] - item[1][1]
        ):
            both = forward + backward
            rest -= both
            rate = 2 * products / both / 1e9 if products else 0
            cells = [f"{100 * both / wall:.1f} %", milliseconds(forward), milliseconds(backward)]
            speed = [f"{rate:.0f}", f"{100 * rate / peak:.0f} %"] if products else ["", ""]
            rows.append([name, *cells, *speed])
        rows.append(["rest", f"{100 * rest / wall:.1f} %", milliseconds(rest), "", "", ""])
        yield table(["operator", "share", "forward", "back", "GFLOP/s", "of the peak"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the file to write; printed where not given")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15, help="turns of each work, at most")
    parser.add_argument("--limit", type=float, default=45, help="seconds after which no turn begins")
    parser.add_argument("--profile", default="release", help="of cargo")
    parser.add_argument("--only", nargs="*", help="works whose names start so")
    options = parser.parse_args()

    programs = build(options.profile)
    torch.set_num_threads(options.threads)
    wanted = lambda name: not options.only or any(name.startswith(one) for one in options.only)
    pipe = Pipe(programs["train"], options.threads)
    results, needs, profiles, rates, found = {}, {}, {}, {}, {}
    for work in filter(wanted, WORKS):
        print(f"{WORKS[work]} ...", file=sys.stderr)
        results[work] = against_torch(pipe, work, options)
        profiles[work] = profile(pipe, work)
        if work.startswith("train"):
            needs[work] = memories(programs["train"], work, options.threads)
    for what, measure in data.RATES.items():
        if wanted(what):
            print(f"{what} ...", file=sys.stderr)
            rates[what] = measure(pipe, programs["pipe"], options.threads)
    for work, (what, measure, _) in bare.WORKS.items():
        if wanted(work):
            print(f"{what} ...", file=sys.stderr)
            taken = measure(pipe, options, programs["digest"])
            found |= {work: taken} if taken else {}
            pipe.run("forget")
    roofs = bare.roofs(pipe)
    pipe.close()
    text = "\n".join(report(options, results, needs, rates, found, profiles, roofs))
    if not options.out:
        print(text)
        return
    with open(options.out, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
