"""Compares pipe with other runners: `python3 benches/runners --out docs/measured/runners.md`.

Needs Python alone; runners that are not on the PATH are left out, and the report says so.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile

import right
import speed
from tools import TOOLS


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def seconds(value):
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def cell(told, pipe):
    if isinstance(told, str):
        return told
    wall, cpu = told
    text = f"{seconds(wall)}, {seconds(cpu)}"
    if isinstance(pipe, tuple) and pipe is not told:
        text += f" (× {cpu / pipe[1]:.2g})"
    return text


def report(arguments, tools, absent, times, cases):
    names = list(tools)
    versions = ", ".join(f"{name} {tool.version().split()[-1]}" for name, tool in tools.items())
    yield "# pipe beside other runners\n"
    yield (
        f"Made by `just bench-runners` on {datetime.date.today()}: {processor()}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}; {versions}."
    )
    if absent:
        yield f"Not on this machine, so left out: {', '.join(absent)}."
    yield ""
    if times:
        yield "## Speed\n"
        yield (
            f"Wall time, then processor time of the runner and its children; medians of "
            f"{arguments.rounds} runs, those of all runners taking turns; in parentheses the processor "
            f"time as a multiple of pipe's. A run over {arguments.limit:.0f} s is ended. ninja, n2 "
            f"and make are told every file by name when their file is written, which is not counted; the "
            f"others walk the directory. Xvc always runs a step that reads nothing.\n"
        )
        rows = [
            [name] + [cell(told[name], told.get("pipe")) for told in times.values()] for name in names
        ]
        yield table(["", *times], rows)
    if cases:
        yield "## What each runs again\n"
        yield right.__doc__.split("\n", 2)[2].strip() + "\n"
        wanted = [right_answer for _, right_answer, *_ in right.CASES]
        rows = [["right", *wanted]] + [
            [name] + [did[name] for did in cases.values()] for name in names
        ]
        yield table(["", *cases], rows)


def main():
    parser = argparse.ArgumentParser(prog="runners", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each job [default: 5]")
    parser.add_argument("--limit", type=float, default=60, help="seconds a run may take [default: 60]")
    parser.add_argument("--only", nargs="*", metavar="RUNNER", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--part", choices=["speed", "right"], help="one of the two tables")
    parser.add_argument("--out", help="write the report here, not to standard output")
    arguments = parser.parse_args()
    unknown = set(arguments.only or []) - set(TOOLS)
    if unknown:
        parser.error(f"no runner {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    asked = {name: tool for name, tool in TOOLS.items() if not arguments.only or name in arguments.only}
    tools = {name: tool for name, tool in asked.items() if tool.path()}
    absent = [name for name in asked if name not in tools]
    if not tools:
        parser.error("none of the runners is on the PATH")

    def say(text):
        print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

    times = cases = None
    with tempfile.TemporaryDirectory(prefix="runners-") as base:
        if arguments.part != "right":
            times = speed.measure(tools, base, arguments.rounds, arguments.limit, say)
        if arguments.part != "speed":
            cases = right.judge(tools, base, say)
    text = "\n".join(report(arguments, tools, absent, times, cases))
    if arguments.out:
        os.makedirs(os.path.dirname(arguments.out) or ".", exist_ok=True)
        with open(arguments.out, "w") as file:
            file.write(text)
    else:
        print(text)


main()
