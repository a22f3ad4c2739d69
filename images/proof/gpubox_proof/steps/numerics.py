"""NumPy, OpenBLAS, SciPy, pandas."""

from __future__ import annotations

from ..failure import Wrong
from ..step import Seen
from . import must_equal


def numpy() -> Seen:
    """Solve a linear system, and see that the solution solves it; Fourier there and back."""
    import numpy as np

    random = np.random.default_rng(0)
    matrix, right = random.normal(size=(300, 300)), random.normal(size=300)
    must_equal(matrix @ np.linalg.solve(matrix, right), right, "NumPy's solution of a linear system", 1e-8)
    must_equal(np.fft.irfft(np.fft.rfft(right)), right, "NumPy's Fourier transform there and back", 1e-10)
    return Seen(np.__version__)


def openblas() -> Seen:
    """Multiply matrices with NumPy's BLAS, compare with sums that use none, and tell which BLAS it is."""
    import numpy as np
    import threadpoolctl

    random = np.random.default_rng(0)
    left, right = random.normal(size=(200, 100)), random.normal(size=(100, 50))
    must_equal(left @ right, np.einsum("ij,jk->ik", left, right, optimize=False), "OpenBLAS's product", 1e-8)
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        raise Wrong("NumPy uses no BLAS that threadpoolctl knows: matrix products will be slow.")
    pool = pools[0]
    name = {"openblas": "OpenBLAS"}.get(pool["internal_api"], pool["internal_api"])
    code = pool.get("architecture") or "any processor"
    return Seen(pool["version"] or "", note=f"{name}, {pool['num_threads']} threads, code for {code}")


def scipy() -> Seen:
    """Find a known minimum, integrate a known integral, solve a sparse system."""
    import numpy as np
    import scipy
    from scipy import integrate, optimize, sparse

    found = optimize.minimize(optimize.rosen, [-1.2, 1.0, 0.7], jac=optimize.rosen_der, method="BFGS")
    must_equal(found.x, [1.0, 1.0, 1.0], "SciPy's minimum of Rosenbrock's function")
    area = integrate.quad(lambda x: np.exp(-(x**2)), -np.inf, np.inf)[0]
    must_equal(area, np.sqrt(np.pi), "SciPy's integral")
    matrix = sparse.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(100, 100), format="csc")
    right = np.ones(100)
    solution = np.linalg.solve(matrix.toarray(), right)
    must_equal(sparse.linalg.spsolve(matrix, right), solution, "SciPy's sparse solution")
    return Seen(scipy.__version__)


def pandas() -> Seen:
    """Write and read a table, group it, and compare the means."""
    import io

    import numpy as np
    import pandas as pd

    values = np.random.default_rng(0).normal(size=1000)
    table = pd.DataFrame({"group": np.tile(["a", "b"], 500), "value": values})
    back = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    means = back.groupby("group")["value"].mean()
    must_equal(means.to_numpy(), [values[::2].mean(), values[1::2].mean()], "pandas' mean by group", 1e-9)
    return Seen(pd.__version__)
