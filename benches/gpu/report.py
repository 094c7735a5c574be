"""The report of `scripts/gpu-check`, in Markdown."""

import platform
from typing import NamedTuple

import networks


class Found(NamedTuple):
    operators: dict
    trainings: dict
    long: dict
    results: dict
    cut: list


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    plain = lambda cell: str(cell).replace("|", "\\|").replace("\n", " ")
    return "\n".join(lines + ["| " + " | ".join(map(plain, row)) + " |" for row in rows]) + "\n"


def milliseconds(seconds):
    return f"{1000 * seconds:.2f} ms"


def gibibytes(count):
    return f"{count / 2**30:.1f} GiB" if count else "unknown"


def verdicts(precision, found):
    right = sum("answer" in answer and answer["answer"]["holds"] for _, answer in found)
    yield f"### Operators, {precision}: {right} of {len(found)} right\n"
    rows = []
    for name, answer in found:
        if "failure" in answer:
            rows.append([name, "**failed**", answer["failure"], ""])
            continue
        one = answer["answer"]
        repeats = "yes" if one["repeats"] else "**no**"
        # JSON has no infinity: what is no number comes as nothing
        size = "no number" if one["error"] is None else f"{one['error']:.1e}"
        error = f"{size} of {one['tolerance']:.0e} ({one['worst']})"
        rows.append([name, "right" if one["holds"] else "**wrong**", error, repeats])
    yield table(["operator", "verdict", "error, and what is allowed", "same bytes twice"], rows)


def trainings(precision, found):
    yield f"### Short trainings beside the CPU, {precision}\n"
    rows = []
    for name, one in found:
        figures = ["", "", ""]
        if "losses" in one:
            figures = [f"{one[what]:.1e}" for what in ("losses", "rounding", "embeddings")]
        rows.append([name, one["wrong"] or "right", *figures])
    head = ["network", "verdict", "losses differ by", "the CPU's by rounding", "first embeddings by"]
    yield table(head, rows)


def benchmark(results, batch, side):
    yield f"## Speed: training step, bf16, {batch} images of {side}x{side}\n"
    yield (
        "PyTorch: autocast, channels_last, `torch.compile`, fused SGD. Medians of some steps in a row, each network "
        "alone on the GPU. Memory is the most that was allocated at once, and then all that the process holds, with "
        "the driver's and what is kept. "
        "With `recompute` pipe computes norms and activations again on the way back and does not keep them.\n"
    )
    rows = []
    for name, (ours, theirs) in results.items():
        cells, ratio = [], ""
        for one in (ours, theirs):
            if "failure" in one:
                cells += [one["failure"], ""]
            else:
                memory = ", ".join(gibibytes(one[what]) for what in ("allocated", "process"))
                cells += [f"{milliseconds(one['seconds'])}, {batch / one['seconds']:.0f}/s", memory]
        if "failure" not in ours and "failure" not in theirs:
            ratio = f"**{theirs['seconds'] / ours['seconds']:.2f}x**"
        rows.append([name, *cells, ratio])
    yield table(["network", "pipe", "memory", "PyTorch", "memory", "pipe is faster by"], rows)
    peak = networks.roofline()
    if peak:
        yield (
            f"## Where the time goes\n\nThe roofline: PyTorch's bf16 product of matrices of 8192 runs at {peak[0]:.0f} "
            f"TFLOP/s here, and its copy moves {peak[1]:.0f} GB/s, counting both ways. The GPU is waited for after "
            "each operator, so a profiled step is slower than a measured one.\n"
        )
    for name, (ours, _) in results.items():
        if "failure" in ours or "failure" in ours["profile"]:
            continue
        profile = ours["profile"]["answer"]
        yield f"### {name}: {milliseconds(profile['wall'])}\n"
        rows, rest = [], profile["wall"]
        for operator, share in sorted(profile["shares"].items(), key=lambda item: -sum(item[1]["seconds"])):
            both = sum(share["seconds"])
            rest -= both
            rate = 2 * share["products"] / both / 1e12 if share["products"] and both else 0
            of = f"{100 * rate / peak[0]:.0f} %" if rate and peak else ""
            cells = [milliseconds(seconds) for seconds in share["seconds"]]
            rows.append([operator, f"{100 * both / profile['wall']:.1f} %", *cells, f"{rate:.1f}" if rate else "", of])
        rows.append(["rest", f"{100 * rest / profile['wall']:.1f} %", milliseconds(rest), "", "", ""])
        yield table(["operator", "share", "forward", "back", "TFLOP/s", "of the product"], rows)


def write(found, holds, device, date, seconds, batch, side):
    parts = ["# Training on a GPU, checked and measured\n"]
    parts.append(
        f"Made by `scripts/gpu-check` on {date} in {seconds:.0f} s: {networks.machine()}; Python "
        f"{platform.python_version()}, {platform.system()} {platform.release()}. Device {device}.\n"
    )
    parts.append("All that was checked is right.\n" if holds else "**Something is wrong**, see below.\n")
    if found.cut:
        parts.append("Not done, for want of time:\n" + "".join(f"\n- {what}" for what in found.cut) + "\n")
    parts.append("## Correctness\n")
    for precision, operators in found.operators.items():
        parts += verdicts(precision, operators)
    for precision, ends in found.trainings.items():
        parts += trainings(precision, ends)
    if found.long:
        end = found.long["wrong"] or "right: the loss went from {first:.3f} to {last:.3f}".format(**found.long)
        parts.append(f"### A long training in bf16 with ArcFace\n\n{end}\n")
    if found.results:
        parts += benchmark(found.results, batch, side)
    return "\n".join(parts)
