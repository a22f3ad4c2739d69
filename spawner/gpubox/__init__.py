"""gpubox: ML-in-a-box for your own GPU machines."""

__version__ = "0.1.0"
