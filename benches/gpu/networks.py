"""PyTorch's side: the same networks in bf16 by autocast, channels_last and compiled; and the machine.

`python3 networks.py NETWORK BATCH SIDE WARM_UP ROUNDS STEPS` measures one in a process of its own and prints JSON.
"""

import json
import os
import signal
import subprocess
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    torch = None

CLASSES = 100


def iresnet50():
    """The 50 layers of ArcFace: normalize, convolve, normalize, slope, convolve, normalize."""

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.branch = nn.Sequential(
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.PReLU(outputs),
                nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            self.straight = nn.Identity()
            if stride > 1 or inputs != outputs:
                shorter = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.straight = nn.Sequential(shorter, nn.BatchNorm2d(outputs))

        def forward(self, x):
            return self.branch(x) + self.straight(x)

    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)]
    inputs = 64
    for outputs, count in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for number in range(count):
            layers.append(Block(inputs, outputs, 2 if number == 0 else 1))
            inputs = outputs
    layers += [nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)]
    return nn.Sequential(*layers, nn.Linear(512, CLASSES))


def resnet50():
    from torchvision.models import resnet50 as net

    return net(num_classes=CLASSES)


def convnext_nano():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = [80, 160, 320, 640, None]
    stages = [CNBlockConfig(*widths[at : at + 2], count) for at, count in enumerate([2, 2, 8, 2])]
    return ConvNeXt(stages, num_classes=CLASSES)


NETWORKS = {"ir-50": iresnet50, "resnet-50": resnet50, "convnext-nano": convnext_nano}


def measure(name, batch, side, warm_up, rounds, count):
    """Returns the median seconds of a training step and the most memory, or why there are none."""
    if torch is None:
        return {"failure": "torch is not installed"}
    if not torch.cuda.is_available():
        return {"failure": "torch sees no GPU"}
    try:
        return steps(NETWORKS[name], batch, side, warm_up, rounds, count)
    except Exception as error:  # whatever it is, the rest goes on
        return {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}


def steps(make, batch, side, warm_up, rounds, count):
    torch.backends.cudnn.benchmark = True
    net = make().cuda().to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, side, side, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(batch) % CLASSES).cuda()
    descent = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4, fused=True)

    @torch.compile
    def loss_of(images, labels):
        with torch.autocast("cuda", torch.bfloat16):
            return F.cross_entropy(net(images), labels)

    def step():
        descent.zero_grad(set_to_none=True)
        loss_of(images, labels).backward()
        descent.step()

    for _ in range(warm_up):
        step()
    # what cuDNN's trials and the compiler took is no part of a step
    torch.cuda.reset_peak_memory_stats()
    walls = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        torch.cuda.synchronize()
        walls.append((time.perf_counter() - start) / count)
    return {
        "seconds": sorted(walls)[len(walls) // 2],
        "allocated": torch.cuda.max_memory_allocated(),
        "process": memory_of(os.getpid()),
    }


def start(*arguments):
    """Starts a measurement in a process of its own, with those that compile for it."""
    command = [sys.executable, __file__, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, **pipes)


def stop(process):
    """Ends it and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def result(process, seconds):
    """Returns what it found, or why there is nothing; it has ended then."""
    try:
        said, complained = process.communicate(timeout=seconds)
        return json.loads(said.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"failure": f"no answer within {seconds:.0f} s"}
    except (IndexError, ValueError):
        last = (complained.strip().splitlines() or ["nothing"])[-1]
        return {"failure": f"it ended with status {process.returncode} and said at last: {last}"}
    finally:
        stop(process)


def roofline():
    """Returns TFLOP/s of a bf16 matrix product and GB/s of a copy, counting both ways."""
    if torch is None or not torch.cuda.is_available():
        return None
    try:
        return peaks()
    except RuntimeError:  # the rest of the report is worth more
        return None


def peaks():
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    big = torch.randn(1 << 29, device="cuda")
    other = torch.empty_like(big)

    def best(work):
        taken = []
        for _ in range(12):
            torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return min(taken)

    product, copy = best(lambda: a @ b), best(lambda: other.copy_(big))
    return 2 * 8192**3 / product / 1e12, 2 * 4 * big.numel() / copy / 1e9


def ask_driver(query, *more):
    command = ["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits", *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def memory_of(process):
    """Returns the bytes of GPU memory that a process holds, or of the whole GPU where it is not listed."""
    for line in ask_driver("compute-apps=pid,used_memory"):
        pid, _, used = line.partition(",")
        if pid.strip() == str(process) and used.strip().isdigit():
            return int(used) << 20
    used = ask_driver("gpu=memory.used")
    return int(used[0]) << 20 if used and used[0].isdigit() else None


def machine():
    """Returns a line on the GPU and the versions of all that takes part."""
    gpu = ask_driver("gpu=name,driver_version,memory.total")
    parts = [f"{gpu[0]} MiB" if gpu else "no GPU that nvidia-smi knows"]
    if torch is not None:
        cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
        parts.append(f"PyTorch {torch.__version__}, its cuDNN {cudnn}")
    return "; ".join(parts)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
