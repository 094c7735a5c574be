"""Makes tensorboard.tfevents with TensorBoard's own writer, or reads event files of ours with it.

    python stages/golden/tensorboard.py                    # needs tensorboard
    python stages/golden/tensorboard.py FOLDER...          # prints every scalar that TensorBoard sees
"""

import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

EVENTS = [
    (0, [("loss/train", 4.5)]),
    (10, [("loss/train", 2.25), ("learning-rate", 0.1)]),
    (300, [("accuracy/dev", 0.0), ("retrieval/dev", 1.0 / 3.0)]),
    (5_000_000_000, [("accuracy/dev", -1e-30)]),
]


def write(path):
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for step, scalars in EVENTS:
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
            event = Event(wall_time=float(step), step=step, summary=Summary(value=values))
            writer.write(event.SerializeToString())


def show(folder):
    accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
    accumulator.Reload()
    for tag in accumulator.Tags()["scalars"]:
        points = [(event.step, round(event.value, 6)) for event in accumulator.Scalars(tag)]
        print(f"{folder}: {tag}: {len(points)} points, first {points[0]}, last {points[-1]}")


if __name__ == "__main__":
    golden = pathlib.Path(__file__).with_suffix(".tfevents")
    if sys.argv[1:]:
        for folder in sys.argv[1:]:
            show(folder)
    else:
        write(golden)
        show(str(golden))
