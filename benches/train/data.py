"""Images without a network: a loader alone, and decoding and resizing, in images per second."""

import io
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

SIDE, BATCH, IMAGES, ROUNDS = 112, 32, 512, 5
WORKERS = 2


class InMemory(Dataset):
    def __init__(self):
        self.images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
        self.change = v2.Compose([
            v2.RandomResizedCrop(SIDE, scale=(0.6, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ])

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return self.change(self.images[index])


def through(loader):
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def loader(pipe, _, threads):
    """Crops, mirrors and normalizes images that are in memory, on so many threads or processes."""
    theirs = DataLoader(InMemory(), BATCH, num_workers=threads, persistent_workers=True)
    through(theirs)
    pipe.run("load")
    taken = {"pipe": [], "torch": []}
    for _ in range(ROUNDS):
        taken["pipe"].append(pipe.run("load")["wall"])
        taken["torch"].append(through(theirs))
    return {name: IMAGES / statistics.median(times) for name, times in taken.items()}


def photographs(folder, files, people=20):
    """Writes JPEGs of 224x224: soft shapes under a little noise, as photographs are."""
    generator = torch.Generator().manual_seed(1)
    for number in range(files):
        soft = torch.rand(1, 3, 14, 14, generator=generator)
        image = torch.nn.functional.interpolate(soft, (224, 224), mode="bicubic")[0]
        image = image + 0.03 * torch.randn(3, 224, 224, generator=generator)
        pixels = (image.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
        person = folder / f"n{number % people:06}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(person / f"{number:04}.jpg", quality=90)


def decode(pipe, *_):
    """Decodes JPEGs that are in memory, on one thread."""
    taken = {"pipe": [], "torch": []}
    with tempfile.TemporaryDirectory() as root:
        photographs(Path(root), IMAGES, people=1)
        folder = next(Path(root).iterdir())
        files = [file.read_bytes() for file in folder.iterdir()]
        for _ in range(ROUNDS):
            taken["pipe"].append(pipe.run(f"decode {folder}")["wall"])
            start = time.perf_counter()
            for file in files:
                Image.open(io.BytesIO(file)).convert("RGB").load()
            taken["torch"].append(time.perf_counter() - start)
    return {name: IMAGES / statistics.median(times) for name, times in taken.items()}


def preprocess(files):
    """Decodes and resizes; pipe's figure includes starting, hashing and storing the result."""

    def measure(_, program, threads):
        taken = {"pipe": [], "torch": []}
        with tempfile.TemporaryDirectory() as root:
            root = Path(root)
            photographs(root / "faces", files)
            (root / "images.toml").write_text(
                f'[stage.images]\nkind = "preprocess"\nimages = "faces"\nsize = {SIDE}\n'
            )
            change = v2.Compose([v2.Resize((SIDE, SIDE), antialias=True), v2.PILToTensor()])
            folder = ImageFolder(root / "faces", change)
            command = [program, "run", "images.toml", "--store", "store", "-j", str(WORKERS)]
            for _ in range(ROUNDS):
                start = time.perf_counter()
                subprocess.run(command, cwd=root, check=True, capture_output=True)
                taken["pipe"].append(time.perf_counter() - start)
                shutil.rmtree(root / "store")
                taken["torch"].append(through(DataLoader(folder, BATCH, num_workers=WORKERS)))
        return {name: files / statistics.median(times) for name, times in taken.items()}

    return measure


RATES = {
    "loader alone (random crop, mirror, normalize)": loader,
    "decoding alone, JPEGs of 224, 1 thread": decode,
    f"preprocess, 600 JPEGs of 224 to 112, {WORKERS} workers": preprocess(600),
    f"preprocess, 3000 JPEGs of 224 to 112, {WORKERS} workers": preprocess(3000),
}
