"""Checks and measures training on a GPU: `python3 benches/gpu --program PATH --out docs/measured/training-gpu.md`.

First every operator beside the CPU, value and gradients, each answer in seconds; an operator that ends or
stalls the program is told and the rest goes on in a fresh one. Then short trainings on GPU and CPU side by
side. Then, with torch installed, the benchmark. Leaves no time unspent: what `--limit` cuts off is named.
`--cpu` does the correctness part alone, with the CPU's composed operators in the place of a GPU's.
"""

import argparse
import datetime
import json
import queue
import signal
import subprocess
import sys
import threading
import time

import networks
import report

BATCH, SIDE = 256, 112
ROUNDS, STEPS, WARM_UP = 10, 5, 5  # times that so many steps in a row are measured, and those that are not
RECOMPUTE = "+recompute"  # after the name of a network: norms and activations are computed again on the way back
TRAININGS = {  # network: batch, side, steps
    "small-resnet": (16, 32, 20),
    "small-iresnet": (16, 32, 20),
    "small-mobilenet": (16, 64, 10),
    "small-convnext": (8, 32, 10),
}
# How far losses may part from the CPU's, as a share of them, beside what rounding makes of them, and first
# embeddings from theirs.
APART = {"f32": (0.02, 1e-3), "bf16": (0.05, 5e-2)}
# What rounding makes of losses is how far the CPU's part when every pixel moves by such a share of it: a network
# with batch norm over few values can turn a millionth into percents within some steps.
MOVED = {"f32": (1e-6, 2e-6), "bf16": (4e-3, 8e-3)}
ROUNDING = 3
LONG = ("small-iresnet", 64, 32, 400)


class Pipe:
    """The Rust half; started again where a request has ended it."""

    def __init__(self, program, device, precision):
        self.command = [program, device, precision]
        self.process = None

    def start(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        try:
            self.process = subprocess.Popen(self.command, text=True, **pipes)
        except OSError as error:
            return {"failure": f"{self.command[0]} cannot be started: {error.strerror}"}
        self.answers, self.complaints = queue.Queue(), []
        process, answers, complaints = self.process, self.answers, self.complaints

        def read():
            for line in process.stdout:
                answers.put(line)
            answers.put(None)

        threading.Thread(target=read, daemon=True).start()
        self.listening = threading.Thread(target=lambda: complaints.extend(process.stderr), daemon=True)
        self.listening.start()
        return self.hear(120)

    def hear(self, seconds):
        """Returns an answer, or a failure where there is none in time."""
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            return {"failure": f"no answer within {seconds} s"}
        if line is not None:
            return json.loads(line)
        status = self.process.wait()
        self.listening.join(1)
        self.process = None
        said = "".join(self.complaints).strip() or "nothing"
        return {"failure": f"it ended with status {status} and said: {said}"}

    def ask(self, request, seconds=60):
        if self.process is None:
            started = self.start()
            if "failure" in started:
                return started
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `hear` tells how it ended
        answer = self.hear(seconds)
        if "failure" in answer and self.command[1] != "cpu":
            self.stop()
        return answer

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Clock:
    """What is left of the time there is."""

    def __init__(self, limit):
        self.end = time.monotonic() + limit
        self.cut = []

    def left(self, what, needed):
        if time.monotonic() + needed < self.end:
            return True
        self.cut.append(what)
        return False


def check_operators(pipe, clock, precision):
    """Returns (name, answer) of each operator."""
    names = pipe.ask("names")
    if "failure" in names:
        sys.exit(f"gpu-check: {names['failure']}")
    found = []
    for number, name in enumerate(names["answer"]):
        if not clock.left(f"operators in {precision} from `{name}` on", 5):
            break
        found.append((name, pipe.ask(f"check {number}")))
        progress(found[-1])
    return found


def progress(one):
    name, answer = one
    if "failure" in answer:
        print(f"failed  {name}: {answer['failure']}", file=sys.stderr)
    elif not answer["answer"]["holds"]:
        print(f"wrong   {name}: {answer['answer']}", file=sys.stderr)


def compare(ours, again, theirs, moved, precision):
    """Returns how far a training on a device is from the CPU's, and what is wrong with it."""
    for answer in (ours, again, theirs, *moved):
        if "failure" in answer:
            return {"wrong": answer["failure"]}
    ours, again, theirs = ours["answer"], again["answer"], theirs["answer"]
    losses, embeddings = APART[precision]
    curves = [answer["answer"]["losses"] for answer in moved]
    by_loss = by_rounding = excess = 0.0
    for step, (a, b) in enumerate(zip(ours["losses"], theirs["losses"])):
        # What has parted once stays parted, also where the curves cross.
        by_rounding = max(by_rounding, *(abs(curve[step] - b) / abs(b) for curve in curves))
        apart = abs(a - b) / abs(b) if ours["finite"] else float("inf")
        by_loss, excess = max(by_loss, apart), max(excess, apart - losses - ROUNDING * by_rounding)
    length = sum(number**2 for number in theirs["embeddings"]) ** 0.5
    by_embedding = float("inf")  # also where one is no number, which JSON gives as nothing
    if None not in ours["embeddings"]:
        apart = sum((a - b) ** 2 for a, b in zip(ours["embeddings"], theirs["embeddings"])) ** 0.5
        by_embedding = apart / max(length, 1e-9)
    wrong = []
    if not ours["finite"]:
        wrong.append("a loss is not finite")
    if excess > 0:
        allowed = f"{losses} and {ROUNDING} times the {by_rounding:.3g} of rounding are allowed"
        wrong.append(f"losses differ by {by_loss:.3g}, and {allowed}")
    if not by_embedding <= embeddings:
        wrong.append(f"first embeddings differ by {by_embedding:.3g}, and {embeddings} is allowed")
    if ours["checksum"] != again["checksum"]:
        wrong.append("a second run gave other weights")
    return {
        "losses": by_loss,
        "rounding": by_rounding,
        "embeddings": by_embedding,
        "wrong": "; ".join(wrong),
    }


def check_trainings(pipe, other, clock, precision):
    found = []
    for name, (batch, side, steps) in TRAININGS.items():
        if not clock.left(f"training of {name} in {precision}", 30):
            continue
        request = f"curve {name} {batch} {side} {steps}"
        ours, again, theirs = pipe.ask(request, 120), pipe.ask(request, 120), other.ask(request, 300)
        moved = [other.ask(f"{request} {share}", 300) for share in MOVED[precision]]
        one = compare(ours, again, theirs, moved, precision)
        saved = pipe.ask(request.replace(name, name + RECOMPUTE), 120)
        if "failure" in saved or saved["answer"]["checksum"] != ours.get("answer", {}).get("checksum"):
            with_it = f"with recompute: {saved.get('failure', 'other weights')}"
            one["wrong"] = "; ".join(filter(None, [one["wrong"], with_it]))
        found.append((name, one))
    return found


def check_long(pipe, clock):
    """Trains with ArcFace for hundreds of steps: no loss may be other than a number."""
    name, batch, side, steps = LONG
    if not clock.left("the long training in bf16", 40):
        return None
    answer = pipe.ask(f"curve {name} {batch} {side} {steps}", 120)
    if "failure" in answer:
        return {"wrong": answer["failure"]}
    losses = answer["answer"]["losses"]
    wrong = "" if answer["answer"]["finite"] else "a loss is not finite"
    if not wrong and not losses[-1] < losses[0]:
        wrong = f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
    return {"steps": steps, "first": losses[0], "last": losses[-1], "wrong": wrong}


def median(times):
    return sorted(times)[len(times) // 2]


def measure_pipe(pipe, name, profiled):
    request = f"{name} {BATCH} {SIDE}"
    answers = [pipe.ask(f"steps {request} {WARM_UP}", 180)]
    while len(answers) <= ROUNDS and "answer" in answers[-1]:
        answers.append(pipe.ask(f"steps {request} {STEPS}"))
    if "failure" in answers[-1]:
        return answers[-1]
    process, allocated = networks.memory_of(pipe.process.pid), pipe.ask("memory").get("answer")
    profile = pipe.ask(f"profile {request}", 120) if profiled else {"failure": "it was not wanted"}
    seconds = median([answer["answer"]["wall"] for answer in answers[1:]])
    return {"seconds": seconds, "allocated": allocated, "process": process, "profile": profile}


def benchmark(pipe, clock):
    found = {}
    for name in networks.NETWORKS:
        if not clock.left(f"the benchmark of {name}", 60):
            continue
        pipe.stop()  # gives the memory back
        ours = measure_pipe(pipe, name, True)
        pipe.stop()
        again = measure_pipe(pipe, f"{name}{RECOMPUTE}", False)
        pipe.stop()
        theirs = networks.result(networks.start(name, BATCH, SIDE, WARM_UP, ROUNDS, STEPS), 120)
        found[name], found[f"{name}, recompute"] = (ours, theirs), (again, theirs)
    return found


def right(operators, trainings, long):
    answers = [answer for found in operators.values() for _, answer in found]
    holds = all("failure" not in answer and answer["answer"]["holds"] for answer in answers)
    ends = [one["wrong"] for found in trainings.values() for _, one in found]
    ends += [long["wrong"]] if long else []
    return holds and not any(ends)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="the Rust half, as scripts/gpu-check builds it")
    parser.add_argument("--out", help="the file to write; printed where not given")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--limit", type=float, default=540, help="seconds after which nothing new begins")
    parser.add_argument("--cpu", action="store_true", help="check the composed operators of the CPU instead")
    parser.add_argument("--only", choices=["operators", "trainings", "benchmark"])
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, too
    started = time.monotonic()
    clock = Clock(options.limit)
    device = "cpu" if options.cpu else options.device
    wanted = lambda part: options.only in (None, part)
    operators, trainings, results, long = {}, {}, {}, None
    # torch compiles its networks while the operators are checked, and finds them in its cache when it is measured
    benchmarked = wanted("benchmark") and not options.cpu
    compiling = [networks.start(name, BATCH, SIDE, 1, 1, 1) for name in networks.NETWORKS if benchmarked]
    other = Pipe(options.program, "cpu", "f32")
    pipes = {precision: Pipe(options.program, device, precision) for precision in ("f32", "bf16")}
    if options.cpu:
        del pipes["bf16"]
    try:
        for precision, pipe in pipes.items():
            opened = pipe.start()
            if "failure" in opened:
                sys.exit(f"gpu-check: {opened['failure']}")
            if wanted("operators"):
                operators[precision] = check_operators(pipe, clock, precision)
            if wanted("trainings"):
                trainings[precision] = check_trainings(pipe, other, clock, precision)
            if wanted("trainings") and precision == "bf16":
                long = check_long(pipe, clock)
            if precision == "f32":
                pipe.stop()
        for name, process in zip(networks.NETWORKS, compiling):
            told = networks.result(process, max(1, min(180, clock.end - time.monotonic())))
            if "failure" in told:
                print(f"PyTorch could not compile {name} ahead: {told['failure']}", file=sys.stderr)
        if benchmarked:
            results = benchmark(pipes["bf16"], clock)
    finally:
        for process in compiling:
            networks.stop(process)
        for pipe in [other, *pipes.values()]:
            pipe.stop()
    holds = right(operators, trainings, long)
    found = report.Found(operators, trainings, long, results, clock.cut)
    seconds = time.monotonic() - started
    text = report.write(found, holds, device, datetime.date.today(), seconds, BATCH, SIDE)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text)
    else:
        print(text)
    if not holds:
        sys.exit("gpu-check: something is wrong; the report names it")


if __name__ == "__main__":
    main()
