"""Measures training on the CPU beside PyTorch: `python3 benches/train --out docs/measured/training-cpu.md`.

Builds pipe, starts benches/train/main.rs and lets it, and PyTorch with both layouts, take turns on the same
number of threads. Needs torch and torchvision; takes about six minutes.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import torch
import torchvision

import data
import networks

WORKS = {
    "train resnet": "ResNet-18, training step, batch 32",
    "train mobilenet": "MobileNetV2, training step, batch 32",
    "train convnext": "ConvNeXt-nano, training step, batch 32",
    "infer resnet": "ResNet-18, inference, batch 64",
}


class Pipe:
    """The Rust half, which waits for the name of the next work."""

    def __init__(self, path, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([path], env=environment, **pipes)

    def run(self, work):
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the Rust half ended at `{work}` (status {self.process.wait()})")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def build(profile, *target):
    """Builds a program and returns where it is."""
    command = ["cargo", "build", "--profile", profile, *target, "--message-format=json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return [one["executable"] for one in messages if one.get("executable")][-1]


def timed(work):
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def take_turns(contenders, rounds, limit):
    """Runs each once unmeasured, then all in turn; returns the medians by name."""
    for run in contenders.values():
        run()
    taken = {name: [] for name in contenders}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - start > limit:
            break
        for name, run in contenders.items():
            taken[name].append(run())
    return {
        name: {key: statistics.median(one[key] for one in all) for key in all[0]}
        for name, all in taken.items()
    }


def against_torch(pipe, work, options):
    contenders = {"pipe": lambda: pipe.run(work)}
    what, network = work.split()
    for layout in ("NCHW", "channels_last"):
        step = networks.work(what, network, layout)
        contenders[layout] = lambda step=step: timed(step)
    return take_turns(contenders, options.rounds, options.limit)


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


def roofline():
    """Returns GFLOP/s of PyTorch's matrix product and GB/s of its copy, both with these threads."""
    a, b = torch.randn(1536, 1536), torch.randn(1536, 1536)
    big, other = torch.randn(32 << 20), torch.empty(32 << 20)
    # the best of several: a roof is what can be reached
    product = min(timed(lambda: a @ b)["wall"] for _ in range(12))
    copy = min(timed(lambda: other.copy_(big))["wall"] for _ in range(12))
    return 2 * 1536**3 / product / 1e9, 2 * big.numel() * 4 / copy / 1e9


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


def report(options, results, rates, profiles, peak):
    yield "# Training on the CPU, beside PyTorch\n"
    yield (
        f"Made by `just bench-train` on {datetime.date.today()}: {processor()}, {os.cpu_count()} cores, "
        f"{options.threads} thread{'s' * (options.threads > 1)} on each side; PyTorch {torch.__version__}, torchvision "
        f"{torchvision.__version__}, Python {platform.python_version()}.\n"
    )
    yield (
        "Images of 112x112, f32, 100 classes, SGD with momentum (PyTorch's fused, where it has it). The three "
        f"take turns in one run; medians of up to {options.rounds} turns. Wall time, then processor time.\n"
    )
    rows = []
    for work, found in results.items():
        best = min((found["NCHW"], found["channels_last"]), key=lambda one: one["wall"])
        cells = [f"{milliseconds(one['wall'])}, {milliseconds(one['cpu'])}" for one in found.values()]
        ratios = [best[key] / found["pipe"][key] for key in ("wall", "cpu")]
        rows.append([WORKS[work], *cells, f"**{ratios[0]:.2f}x**, {ratios[1]:.2f}x"])
    head = ["work", "pipe", "PyTorch NCHW", "PyTorch channels_last", "pipe is faster than the better by"]
    yield table(head, rows)
    if rates:
        yield "Images per second without a network, wall time:\n"
    rows = [
        [what, f"{found['pipe']:.0f}", f"{found['torch']:.0f}", f"**{found['pipe'] / found['torch']:.2f}x**"]
        for what, found in rates.items()
    ]
    if rates:
        yield table(["work", "pipe", "torchvision", "pipe is faster by"], rows)
    flops, bytes_ = peak
    yield (
        f"## Where the time goes\n\nOne step of pipe's, by operator. The roofline: PyTorch's product of two "
        f"matrices of 1536 runs at {flops:.0f} GFLOP/s here, and its copy of 128 MiB moves {bytes_:.1f} GB/s; an "
        f"operator with fewer than {flops / bytes_:.0f} floating-point operations for each byte it moves to and "
        "from memory cannot reach the former. A 3x3 convolution with stride 1 does 2.25 times fewer "
        "operations than are counted here (Winograd), so it may pass 100 %. `rest` is the loss, the optimizer and "
        "whatever lies between operators.\n"
    )
    for work, (wall, shares) in profiles.items():
        yield f"### {WORKS[work]}: {milliseconds(wall)}\n"
        rows, rest = [], wall
        for name, (forward, backward, products) in sorted(
            shares.items(), key=lambda item: -item[1][0] - item[1][1]
        ):
            both = forward + backward
            rest -= both
            rate = 2 * products / both / 1e9 if products else 0
            cells = [f"{100 * both / wall:.1f} %", milliseconds(forward), milliseconds(backward)]
            speed = [f"{rate:.0f}", f"{100 * rate / flops:.0f} %"] if products else ["", ""]
            rows.append([name, *cells, *speed])
        rows.append(["rest", f"{100 * rest / wall:.1f} %", milliseconds(rest), "", "", ""])
        yield table(["operator", "share", "forward", "back", "GFLOP/s", "of the product"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the file to write; printed where not given")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15, help="turns of each work, at most")
    parser.add_argument("--limit", type=float, default=45, help="seconds after which no turn begins")
    parser.add_argument("--profile", default="release", help="of cargo")
    parser.add_argument("--only", nargs="*", help="works whose names start so")
    options = parser.parse_args()

    bench = build(options.profile, "-p", "stages", "--bench", "train")
    torch.set_num_threads(options.threads)
    wanted = lambda name: not options.only or any(name.startswith(one) for one in options.only)
    pipe = Pipe(bench, options.threads)
    results, profiles, rates = {}, {}, {}
    for work in filter(wanted, WORKS):
        print(f"{WORKS[work]} ...", file=sys.stderr)
        results[work] = against_torch(pipe, work, options)
        profiles[work] = profile(pipe, work)
    for what, measure in data.RATES.items():
        if wanted(what):
            print(f"{what} ...", file=sys.stderr)
            program = lambda: build(options.profile, "-p", "pipe", "--bin", "pipe")
            rates[what] = measure(pipe, program, options.threads)
    peak = roofline()
    pipe.close()
    text = "\n".join(report(options, results, rates, profiles, peak))
    if not options.out:
        print(text)
        return
    with open(options.out, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
