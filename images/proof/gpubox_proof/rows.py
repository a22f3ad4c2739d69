"""The list: what the image promises, and the step that proves each."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the proof."""

    name: str
    step: str  # "module:function" below gpubox_proof.steps
    distributions: tuple[str, ...] = ()  # whose metadata tells the version, the first that is installed
    gpu: bool = False  # whether its report tells about the GPU
    only_with: tuple[str, ...] = ()  # distributions: the row is left out where none is installed
    environment: dict[str, str] = field(default_factory=dict)
    home: str = "ml"  # the Python environment it lives in, below /opt, where that has one of its own


# With any of these installed the image is a CUDA one.
CUDA = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13")
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless")


def keras(backend: str, home: str = "ml") -> Row:
    """The row of Keras on one of its backends."""
    environment = {"KERAS_BACKEND": backend}
    return Row(f"Keras ({backend})", "deep:keras", ("keras",), True, environment=environment, home=home)


ROWS = (
    Row("NumPy", "numerics:numpy", ("numpy",)),
    Row("OpenBLAS", "numerics:openblas", ("threadpoolctl",)),
    Row("SciPy", "numerics:scipy", ("scipy",)),
    Row("pandas", "numerics:pandas", ("pandas",)),
    Row("IPython", "notebook:ipython", ("ipython",)),
    Row("Matplotlib", "pictures:matplotlib", ("matplotlib",)),
    Row("Pillow", "pictures:pillow", ("pillow",)),
    Row("TensorFlow", "deep:tensorflow", ("tensorflow", "tensorflow-cpu"), gpu=True, home="tf"),
    Row("PyTorch", "deep:pytorch", ("torch",), gpu=True),
    keras("tensorflow", home="tf"),
    keras("torch"),
    keras("jax"),
    Row("JAX", "deep:jax", ("jax",), gpu=True),
    Row("PyTensor", "deep:pytensor", ("pytensor",)),
    Row("Caffe", "older:caffe"),
    Row("Caffe models (OpenCV)", "older:caffe_models", OPENCV),
    Row("Torch7 models (OpenCV)", "older:torch7_models", OPENCV),
    Row("NVIDIA driver", "cuda:driver", only_with=CUDA),
    Row("CUDA", "cuda:cuda", gpu=True, only_with=CUDA),
    Row("cuDNN", "cuda:cudnn", ("torch",), gpu=True, only_with=CUDA),
    Row("CuPy", "cuda:cupy", ("cupy-cuda13x", "cupy-cuda12x"), gpu=True, only_with=CUDA),
    Row("nvcc", "cuda:nvcc", ("nvidia-cuda-nvcc", "nvidia-cuda-nvcc-cu12"), only_with=CUDA),
    Row("torchvision", "pictures:torchvision", ("torchvision",), gpu=True, only_with=("torchvision", *CUDA)),
    Row("OpenCV", "pictures:opencv", OPENCV),
    Row("scikit-learn", "classic:scikit_learn", ("scikit-learn",)),
    Row("XGBoost", "classic:xgboost", ("xgboost", "xgboost-cpu"), gpu=True),
    Row("LightGBM", "classic:lightgbm", ("lightgbm",)),
    Row("transformers", "huggingface:transformers", ("transformers",), gpu=True),
    Row("datasets", "huggingface:datasets", ("datasets",)),
    Row("accelerate", "huggingface:accelerate", ("accelerate",), gpu=True),
    Row("peft", "huggingface:peft", ("peft",), gpu=True),
    Row("diffusers", "huggingface:diffusers", ("diffusers",), gpu=True),
    Row("safetensors", "huggingface:safetensors", ("safetensors",)),
    Row("sentence-transformers", "huggingface:sentence_transformers", ("sentence-transformers",), gpu=True),
    Row("spaCy", "classic:spacy", ("spacy",)),
    Row("ONNX Runtime", "deep:onnx_runtime", ("onnxruntime", "onnxruntime-gpu"), gpu=True),
    Row("TensorBoard", "notebook:tensorboard", ("tensorboard",)),
    Row("JupyterLab", "notebook:jupyterlab", ("jupyterlab",)),
    Row("jupyterlab-git", "notebook:jupyterlab_git", ("jupyterlab-git",)),
    Row("ipywidgets", "notebook:ipywidgets", ("ipywidgets",)),
    Row("kernels", "notebook:kernels", ("ipykernel",)),
    Row("git", "tools:git"),
    Row("git-lfs", "tools:git_lfs"),
    Row("tmux", "tools:tmux"),
    Row("htop", "tools:htop"),
    Row("nvtop", "tools:nvtop"),
    Row("ffmpeg", "tools:ffmpeg"),
    Row("g++", "tools:compiler"),
)


def named(name: str) -> Row:
    """The row of exactly this name."""
    return next(row for row in ROWS if row.name == name)


def expected(rows: Sequence[Row] = ROWS) -> list[Row]:
    """The rows that this image must have: those of CUDA only where CUDA is."""
    return [row for row in rows if not row.only_with or any(is_installed(name) for name in row.only_with)]


def chosen(words: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """The rows whose names begin with these words, in any case; LookupError for a word that names none."""
    found: set[str] = set()
    for word in words:
        exact = {row.name for row in rows if row.name.casefold() == word.casefold()}
        names = exact or {row.name for row in rows if row.name.casefold().startswith(word.casefold())}
        if not names:
            raise LookupError(f"no row is called {word!r}; there are: {', '.join(row.name for row in rows)}")
        found |= names
    return [row for row in rows if row.name in found]


def is_installed(distribution: str) -> bool:
    """Whether one of the image's Python environments, or this one, has a distribution."""
    return bool(version((distribution,)))


def version(distributions: Sequence[str]) -> str:
    """The version of the first of these that is installed, told without importing what may not import."""
    path = [*sys.path, *map(str, Path("/opt").glob("*/lib/python3*/site-packages"))]
    for name in distributions:
        for found in importlib.metadata.distributions(name=name, path=path):
            return found.version
    return ""
