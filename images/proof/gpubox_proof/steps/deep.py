"""PyTorch, TensorFlow, Keras on its three backends, JAX, PyTensor, ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

from .. import gpu
from ..failure import Wrong
from ..step import Seen
from . import must_equal, must_fall
from .cuda import jax_build, tensorflow_build, torch_build, torch_device


def _curve() -> tuple[Any, Any]:
    """Points of a curve to fit: 128 of them, as columns."""
    import numpy as np

    x = np.linspace(-1, 1, 128, dtype="float32")[:, None]
    return x, np.sin(3 * x)


def pytorch() -> Seen:
    """Fit a curve with a small network, on the GPU where there is one."""
    import torch

    torch.manual_seed(0)
    device = torch_device()
    x, y = (torch.from_numpy(values).to(device) for values in _curve())
    model = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(device)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(150):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    must_fall(losses, to=0.1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return Seen(torch.__version__, name, build=torch_build())


def tensorflow() -> Seen:
    """Fit a curve with a compiled function and its gradient, on the GPU where there is one."""
    import tensorflow as tf

    tf.random.set_seed(0)
    x, y = (tf.constant(values) for values in _curve())
    hidden, out = tf.Variable(tf.random.normal([1, 32])), tf.Variable(tf.random.normal([32, 1]) * 0.1)
    bias = tf.Variable(tf.random.uniform([32], -1, 1))

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.tanh(x @ hidden + bias) @ out - y) ** 2)
        variables = [hidden, bias, out]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.05 * gradient)
        return loss

    must_fall([float(step()) for _ in range(150)], to=0.5)
    build = tensorflow_build()
    return Seen(tf.__version__, _plain(step().device), build=build)


def _plain(device: str) -> str:
    """`gpu` of TensorFlow's "/job:localhost/replica:0/task:0/device:GPU:0"."""
    return device.rpartition("device:")[2].partition(":")[0].lower()


def keras() -> Seen:
    """Fit a curve with Keras on the backend that the environment names; save the model and load it again."""
    import keras

    backend = os.environ["KERAS_BACKEND"]
    if keras.backend.backend() != backend:
        raise Wrong(f"Keras runs on {keras.backend.backend()} though KERAS_BACKEND says {backend}.")
    keras.utils.set_random_seed(0)
    x, y = _curve()
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(1)]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse")
    must_fall(model.fit(x, y, epochs=40, batch_size=32, verbose=0).history["loss"], to=0.3)
    model.save("curve.keras")
    again = keras.saving.load_model("curve.keras")
    must_equal(again.predict(x, verbose=0), model.predict(x, verbose=0), "The model that Keras loaded")
    builds = {"torch": torch_build, "tensorflow": tensorflow_build, "jax": jax_build}
    build = builds[backend](f"Keras on {backend}")
    return Seen(keras.__version__, "gpu" if build.sees else "cpu", build=build)


def jax() -> Seen:
    """Fit a curve with a compiled gradient, on the GPU where there is one."""
    import jax
    import jax.numpy as jnp

    x, y = _curve()
    keys = jax.random.split(jax.random.key(0), 3)
    weights = {
        "hidden": jax.random.normal(keys[0], (1, 32)),
        "bias": jax.random.uniform(keys[1], (32,), minval=-1, maxval=1),
        "out": 0.1 * jax.random.normal(keys[2], (32, 1)),
    }

    def loss(weights: dict[str, Any]) -> Any:
        hidden = jnp.tanh(x @ weights["hidden"] + weights["bias"])
        return jnp.mean((hidden @ weights["out"] - y) ** 2)

    step, losses = jax.jit(jax.value_and_grad(loss)), []
    for _ in range(150):
        value, slope = step(weights)
        weights = jax.tree.map(lambda weight, gradient: weight - 0.05 * gradient, weights, slope)
        losses.append(float(value))
    must_fall(losses, to=0.5)
    return Seen(jax.__version__, next(iter(weights["out"].devices())).device_kind.lower(), build=jax_build())


def pytensor() -> Seen:
    """Compile a function and its gradient, and compare both with NumPy; multiply matrices in compiled C.

    The default compiler is Numba, whose first matrix product takes half a minute: that one goes through g++.
    """
    import numpy as np
    import pytensor
    import pytensor.tensor as pt

    x, matrix = pt.vector("x", dtype="float64"), pt.matrix("matrix", dtype="float64")
    cost = pt.sum(pt.tanh(x) ** 2)
    function = pytensor.function([x], [cost, pt.grad(cost, x)])
    product = pytensor.function([matrix, x], matrix @ x, mode="CVM")
    random = np.random.default_rng(0)
    numbers, vector = random.normal(size=(4, 3)), random.normal(size=3)
    value, slope = function(vector)
    bent = np.tanh(vector)
    must_equal(value, np.sum(bent**2), "PyTensor's function", 1e-8)
    must_equal(slope, 2 * bent * (1 - bent**2), "PyTensor's gradient", 1e-8)
    must_equal(product(numbers, vector), numbers @ vector, "PyTensor's product", 1e-8)
    return Seen(pytensor.__version__, note="compiled by Numba and by g++")


def onnx_runtime() -> Seen:
    """Run a graph of two layers and compare with NumPy."""
    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(8, 4)).astype("float32"), random.normal(size=4).astype("float32")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "weights", "bias"], ["sum"]),
            helper.make_node("Softmax", ["sum"], ["y"], axis=1),
        ],
        "two layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    # An opset and a format that every release of the last years reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    offered = ort.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in offered]
    session = ort.InferenceSession(model.SerializeToString(), providers=wanted)
    x = random.normal(size=(5, 8)).astype("float32")
    raised = np.exp(x @ weights + bias)
    shares = raised / raised.sum(axis=1, keepdims=True)
    must_equal(session.run(None, {"x": x})[0], shares, "ONNX Runtime's output")
    on_gpu = "CUDAExecutionProvider" in session.get_providers()
    cuda = gpu.version(getattr(ort, "cuda_version", None)) if "CUDAExecutionProvider" in offered else None
    build = gpu.Build("ONNX Runtime", int(on_gpu), cuda)
    return Seen(ort.__version__, "cuda" if on_gpu else "cpu", build=build)
