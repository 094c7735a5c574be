"""Makes images.safetensors: image files with their pixels by Pillow; scaled, changed images by torchvision."""

import io
import pathlib

import numpy
import torch
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

HERE = pathlib.Path(__file__).parent
random = numpy.random.default_rng(7)
golden = {}


def photograph(width, height):
    """Smooth shades, a hard edge and a little noise, as photographs have."""
    y, x = numpy.mgrid[0:height, 0:width]
    planes = [
        127 + 110 * numpy.sin(x / width * a + y / height * b + c)
        for a, b, c in [(4.0, 2.0, 0.1), (2.5, 5.0, 1.3), (6.0, 1.0, 2.2)]
    ]
    pixels = numpy.stack(planes, -1) + random.normal(0, 6, (height, width, 3))
    pixels[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] *= 0.4
    return pixels.clip(0, 255).astype(numpy.uint8)


def file(name, image, **options):
    """Keeps an image as a file, with what Pillow reads from it."""
    stream = io.BytesIO()
    image.save(stream, **options)
    data = stream.getvalue()
    golden[f"file.{name}"] = numpy.frombuffer(data, numpy.uint8)
    read = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    golden[f"decoded.{name}"] = numpy.asarray(read.convert("RGB"))


def files():
    photo = Image.fromarray(photograph(37, 29))
    for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        file(f"{name}.jpg", photo, format="JPEG", quality=90, subsampling=subsampling)
    file("progressive.jpg", photo, format="JPEG", quality=90, progressive=True)
    file("restart.jpg", photo, format="JPEG", quality=90, restart_marker_blocks=2)
    file("grey.jpg", photo.convert("L"), format="JPEG", quality=90)
    file("cmyk.jpg", photo.convert("CMYK"), format="JPEG", quality=95)
    small = Image.fromarray(photograph(21, 13))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file(f"turned-{orientation}.jpg", small, format="JPEG", quality=92, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    file("turned.png", small, format="PNG", exif=exif)
    file("rgb.png", small, format="PNG")
    alpha = small.convert("RGBA")
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (13, 21), dtype=numpy.uint8)))
    file("rgba.png", alpha, format="PNG")
    file("palette.png", small.quantize(16), format="PNG")
    file("grey.png", small.convert("L"), format="PNG")
    file("grey-alpha.png", alpha.convert("LA"), format="PNG")
    file("black-white.png", small.convert("1"), format="PNG")
    file("rgb.bmp", small, format="BMP")
    file("palette.bmp", small.quantize(16), format="BMP")
    file("rgb.ppm", small, format="PPM")
    file("grey.pgm", small.convert("L"), format="PPM")
    # Pillow clips 16-bit grey when it converts to RGB: what is meant is written here.
    wide = random.integers(0, 65536, (5, 4), dtype=numpy.uint16)
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, format="PNG")
    golden["file.grey-16.png"] = numpy.frombuffer(stream.getvalue(), numpy.uint8)
    eight = numpy.round(wide / 257).astype(numpy.uint8)
    golden["decoded.grey-16.png"] = numpy.repeat(eight[..., None], 3, -1)


def scaled():
    """The names say size, crop and how; torchvision works on uint8 tensors, and on Pillow alike."""
    targets = [
        ("short-side", 24, 24),
        ("short-side", 25, 18),
        ("exact", 24, 24),
        ("exact", 24, 15),
        ("exact", 70, 30),
    ]
    for width, height in [(61, 47), (40, 53), (20, 20)]:
        photo = photograph(width, height)
        golden[f"scale.{width}x{height}"] = photo
        tensor = torch.from_numpy(photo).permute(2, 0, 1)
        for fit, size, crop in targets:
            for filter in ["bilinear", "bicubic"]:
                side = [size] if fit == "short-side" else [size, size]
                resize = v2.Resize(side, InterpolationMode(filter), antialias=True)
                change = v2.Compose([resize, v2.CenterCrop(crop)])
                planes = change(tensor).numpy()
                pillow = numpy.asarray(change(Image.fromarray(photo))).transpose(2, 0, 1)
                apart = numpy.abs(pillow.astype(int) - planes.astype(int)).max()
                assert apart <= (1 if filter == "bilinear" else 2)
                golden[f"scaled.{width}x{height}.{fit}.{size}.{crop}.{filter}"] = planes


def changed():
    """Deterministic parts of the augmentations, in floating point."""
    photo = photograph(13, 10)
    photo[0, :3] = [[0, 0, 0], [255, 255, 255], [90, 90, 90]]
    golden["augment"] = photo.transpose(2, 0, 1)
    image = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
    for factor in [0.0, 0.6, 1.0, 1.7]:
        golden[f"brightness {factor}"] = functional.adjust_brightness(image, factor)
        golden[f"contrast {factor}"] = functional.adjust_contrast(image, factor)
        golden[f"saturation {factor}"] = functional.adjust_saturation(image, factor)
    for shift in [-0.5, -0.13, 0.0, 0.21, 0.5]:
        golden[f"hue {shift}"] = functional.adjust_hue(image, shift)
    for degrees in [-30.0, 7.5, 90.0, 180.0]:
        # fill=None leaves torchvision's zero padding, which weighs pixels at the border once.
        mode = InterpolationMode.BILINEAR
        golden[f"rotation {degrees}"] = functional.rotate(image, degrees, mode, fill=None)
    for part in [(0, 0, 10, 13), (2, 3, 5, 7), (4, 0, 1, 13), (0, 6, 10, 1), (9, 12, 1, 1)]:
        name = "crop " + " ".join(map(str, part))
        golden[name] = functional.resized_crop(image, *part, [10, 13], antialias=True)
    golden["mirror"] = functional.horizontal_flip(image)


files()
scaled()
changed()
arrays = {name: numpy.ascontiguousarray(values) for name, values in golden.items()}
save_file(arrays, HERE / "images.safetensors")
