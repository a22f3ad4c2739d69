"""Matplotlib, Pillow, OpenCV, torchvision."""

from __future__ import annotations

import warnings

from ..failure import Wrong
from ..step import Seen
from . import must_equal


def matplotlib() -> Seen:
    """Draw a plot whose title is in Chinese, Japanese and Korean, with a glyph for every character."""
    import matplotlib
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure, axes = plt.subplots()
        axes.plot([1, 3, 2])
        axes.set_title("机器学习 機械学習 기계 학습 Ω")
        figure.savefig("plot.png")
    if missing := [str(one.message) for one in said if "missing from" in str(one.message)]:
        raise Wrong(f"Matplotlib has no font for Chinese, Japanese and Korean: {missing[0]}")
    if plt.imread("plot.png").std() == 0:
        raise Wrong("Matplotlib's plot is blank.")
    return Seen(matplotlib.__version__, note="PNG, with CJK")


def pillow() -> Seen:
    """Write a picture in three formats and read it back."""
    import numpy as np
    import PIL
    from PIL import Image

    gradient = np.add.outer(np.arange(64), np.arange(64)).astype("uint8")
    for kind, loss in (("PNG", 0), ("JPEG", 3), ("WEBP", 3)):
        Image.fromarray(gradient).convert("RGB").save(f"picture.{kind}", quality=95)
        back = np.asarray(Image.open(f"picture.{kind}").convert("L")).astype(int)
        if (worst := np.abs(back - gradient).mean()) > loss:
            raise Wrong(f"Pillow's {kind} comes back {worst:.1f} levels off.")
    return Seen(PIL.__version__, note="PNG, JPEG, WebP")


def opencv() -> Seen:
    """Filter a picture and compare with NumPy, find the circle in it, and go through JPEG."""
    import cv2
    import numpy as np

    picture = np.zeros((120, 120), np.uint8)
    cv2.circle(picture, (70, 50), 25, 255, -1)
    kernel = np.ones((3, 3), np.float32) / 9
    padded = np.pad(picture.astype(float), 1, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    filtered = cv2.filter2D(picture.astype(np.float32), -1, kernel)
    must_equal(filtered, (windows * kernel).sum(axis=(2, 3)), "OpenCV's filter", 1e-3)
    outlines, _ = cv2.findContours(picture, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (x, y), radius = cv2.minEnclosingCircle(outlines[0])
    must_equal([x, y, radius], [70, 50, 25], "OpenCV's circle", 0.02)
    back = cv2.imdecode(cv2.imencode(".jpg", picture)[1], cv2.IMREAD_GRAYSCALE)
    if np.abs(back.astype(int) - picture).mean() > 3:
        raise Wrong("OpenCV's JPEG comes back different.")
    return Seen(cv2.__version__)


def torchvision() -> Seen:
    """Run a small ResNet on a batch that its transforms made."""
    import torch
    import torchvision
    from torchvision import models, ops, transforms

    from .cuda import torch_build, torch_device

    device = torch_device()
    pictures = torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8)
    prepare = transforms.Compose([transforms.Resize((64, 64)), transforms.ConvertImageDtype(torch.float32)])
    with torch.no_grad():
        scores = models.resnet18(num_classes=5).eval().to(device)(prepare(pictures).to(device))
    if tuple(scores.shape) != (2, 5) or not torch.isfinite(scores).all():
        raise Wrong(f"torchvision's ResNet gave {tuple(scores.shape)} scores, or not numbers.")
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)  # its own compiled code
    must_equal(kept.cpu(), [0, 2], "torchvision's choice of boxes")
    return Seen(torchvision.__version__, str(device), build=torch_build("torchvision"))
