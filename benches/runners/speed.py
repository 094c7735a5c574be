"""How long each runner takes for the same job; the runs of all runners alternate."""

import os
import shutil

from measuring import median, run
from tools import Step

PER_DIRECTORY = 500


def trivial(count):
    return [Step(f"s{i}", f"echo {i} > $out") for i in range(count)]


def over_directory():
    return [Step("count", "find $in -type f | wc -l > $out", reads=["data"])]


def write_data(root, count):
    for i in range(count):
        directory = os.path.join(root, "data", f"{i // PER_DIRECTORY:04}")
        if i % PER_DIRECTORY == 0:
            os.makedirs(directory)
        with open(os.path.join(directory, f"{i:06}.txt"), "w") as file:
            file.write(f"file {i}\n" * 16)


def edit_one(root, turn):
    with open(os.path.join(root, "data", "0003", f"{3 * PER_DIRECTORY + 7:06}.txt"), "w") as file:
        file.write(f"edited {turn}\n")


# What is told, steps, files, what happens before each run, whether the first run is what is measured.
JOBS = [
    ("nothing to do, 10 steps", lambda: trivial(10), 0, None, False),
    ("nothing to do, 1,000 steps", lambda: trivial(1000), 0, None, False),
    ("nothing to do, 50,000 files", over_directory, 50_000, None, False),
    ("nothing to do, 200,000 files", over_directory, 200_000, None, False),
    ("one of 50,000 files changed", over_directory, 50_000, edit_one, False),
    ("1,000 trivial steps", lambda: trivial(1000), 0, None, True),
]


def measure(tools, base, rounds, limit, say):
    """Returns {job: {tool: (wall, cpu) or why not}}."""
    results = {}
    for job, steps, files, before, first in JOBS:
        say(job)
        roots, told, times = {}, {}, {name: [] for name in tools}
        for name, tool in tools.items():
            root = roots[name] = os.path.join(base, name)
            os.makedirs(root)
            write_data(root, files)
            tool.prepare(root)
            tool.write(root, steps())
            took = None if first else run(tool.command(), root, limit)
            if not first and (took is None or took.code != 0):
                told[name] = "first run over the limit" if took is None else "failed"
        for turn in range(rounds):
            for name, tool in tools.items():
                if name in told:
                    continue
                root = roots[name]
                if first and turn:
                    shutil.rmtree(root)
                    os.makedirs(root)
                    tool.prepare(root)
                    tool.write(root, steps())
                if before:
                    before(root, turn)
                took = run(tool.command(), root, limit)
                if took is None:
                    told[name] = f"over {limit:.0f} s"
                elif took.code != 0:
                    told[name] = "failed"
                else:
                    times[name].append(took)
        for name in tools:
            if name not in told:
                told[name] = (
                    median([took.wall for took in times[name]]),
                    median([took.cpu for took in times[name]]),
                )
            shutil.rmtree(roots[name])
        results[job] = told
    return results
