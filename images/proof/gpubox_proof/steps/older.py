"""Caffe, and what OpenCV reads of Caffe and Torch7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..caffemodel import caffemodel
from ..failure import Wrong
from ..step import Seen
from ..t7 import Module, sequential
from . import must_equal, must_fall

CAFFE_NET = """
name: "tell two kinds of pictures apart"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
        hdf5_data_param { source: "files.txt" batch_size: 32 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { scale: 0.00390625 }
        data_param { source: "pictures.lmdb" backend: LMDB batch_size: 64 } }
layer { name: "convolution" type: "Convolution" bottom: "data" top: "convolution"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "convolution" top: "convolution" }
layer { name: "score" type: "InnerProduct" bottom: "convolution" top: "score"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy"
        include { phase: TEST } }
"""
CAFFE_SOLVER = """
net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 random_seed: 1
max_iter: 60 solver_mode: CPU snapshot_prefix: "trained" snapshot_after_train: false
"""


def _stripes(count: int) -> tuple[Any, Any]:
    """Noisy 8x8 pictures of stripes: upright ones are kind 0, lying ones kind 1."""
    import numpy as np

    random = np.random.default_rng(count)
    kinds = np.arange(count) % 2
    upright = np.tile([0.8, 0.2], (8, 4))
    noise = random.normal(scale=0.1, size=(count, 8, 8))
    pictures = np.where(kinds[:, None, None], upright.T, upright) + noise
    return np.clip(pictures, 0, 1)[:, None].astype("float32"), kinds


def caffe() -> Seen:
    """Train a tiny network from HDF5 until its loss falls, and judge pictures from LMDB."""
    Path("net.prototxt").write_text(CAFFE_NET)
    Path("solver.prototxt").write_text(CAFFE_SOLVER)
    Path("files.txt").write_text("pictures.h5\n")
    import caffe
    import h5py
    import lmdb

    pictures, kinds = _stripes(128)
    with h5py.File("pictures.h5", "w") as file:
        file["data"], file["label"] = pictures, kinds.astype("float32")
    pictures, kinds = _stripes(64)
    with lmdb.open("pictures.lmdb", map_size=1 << 24) as database, database.begin(write=True) as writing:
        for index, (picture, kind) in enumerate(zip((pictures * 255).astype("uint8"), kinds, strict=True)):
            datum = caffe.io.array_to_datum(picture, int(kind))
            writing.put(f"{index:08}".encode(), datum.SerializeToString())
    must_equal(caffe.io.datum_to_array(datum), picture, "The picture in Caffe's Datum")
    caffe.set_mode_cpu()
    solver, losses = caffe.SGDSolver("solver.prototxt"), []
    for _ in range(60):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    must_fall(losses)
    solver.net.save("trained.caffemodel")
    judge = caffe.Net("net.prototxt", "trained.caffemodel", caffe.TEST)
    if (right := float(judge.forward()["accuracy"])) < 0.95:
        raise Wrong(f"The network that Caffe trained puts only {right:.0%} of the pictures from LMDB right.")
    return Seen(caffe.__version__, note="HDF5, LMDB")


CAFFE_MODEL = """
input: "data" input_shape { dim: 1 dim: 1 dim: 8 dim: 8 }
layer { name: "convolution" type: "Convolution" bottom: "data" top: "convolution"
        convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "convolution" top: "convolution" }
layer { name: "score" type: "InnerProduct" bottom: "convolution" top: "score"
        inner_product_param { num_output: 4 } }
layer { name: "probability" type: "Softmax" bottom: "score" top: "probability" }
"""


def _weights() -> dict[str, Any]:
    """Weights of a small network: three 3x3 filters, then a layer that scores 3x6x6 numbers."""
    import numpy as np

    random = np.random.default_rng(0)
    shapes = {"filters": (3, 1, 3, 3), "shifts": (3,), "scores": (4, 108), "offsets": (4,)}
    return {name: random.normal(scale=0.3, size=shape).astype("float32") for name, shape in shapes.items()}


def _by_numpy(picture: Any, weights: dict[str, Any]) -> Any:
    """What that network makes of an 8x8 picture: the probability of four kinds."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3))
    filtered = np.einsum("yxij,fij->fyx", windows, weights["filters"][:, 0])
    bent = np.maximum(filtered + weights["shifts"][:, None, None], 0)
    scores = weights["scores"] @ bent.ravel() + weights["offsets"]
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def caffe_models() -> Seen:
    """Read a Caffe model with OpenCV and compare its output with NumPy."""
    import cv2
    import numpy as np

    weights, picture = _weights(), np.random.default_rng(1).normal(size=(8, 8)).astype("float32")
    file = caffemodel(
        {
            "convolution": (weights["filters"], weights["shifts"]),
            "score": (weights["scores"], weights["offsets"]),
        }
    )
    described, trained = (np.frombuffer(part, "uint8") for part in (CAFFE_MODEL.encode(), file))
    network = cv2.dnn.readNetFromCaffe(described, trained)  # bytes it would take for a file's name
    network.setInput(picture[None, None])
    must_equal(network.forward()[0], _by_numpy(picture, weights), "OpenCV's output of a Caffe model")
    return Seen(cv2.__version__)


def torch7_models() -> Seen:
    """Read a Torch7 model with OpenCV and compare its output with NumPy."""
    import cv2
    import numpy as np

    weights, picture = _weights(), np.random.default_rng(1).normal(size=(8, 8)).astype("float32")
    sizes = {"nInputPlane": 1, "nOutputPlane": 3, "kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 0, "padH": 0}
    filters = {"weight": weights["filters"], "bias": weights["shifts"]}
    Path("model.t7").write_bytes(
        sequential(
            Module("nn.SpatialConvolution", sizes | filters),
            Module("nn.ReLU", {"inplace": False}),
            Module("nn.Reshape", {"size": np.array([108]), "batchMode": True}),
            Module("nn.Linear", {"weight": weights["scores"], "bias": weights["offsets"]}),
            Module("nn.SoftMax", {}),
        )
    )
    network = cv2.dnn.readNetFromTorch("model.t7", True, False)
    network.setInput(picture[None, None])
    must_equal(network.forward()[0], _by_numpy(picture, weights), "OpenCV's output of a Torch7 model")
    return Seen(cv2.__version__)
