"""The one distribution, `gpubox`: the hub's side (spawner/) and the box's side (extension/).

The tools' settings are in pyproject.toml; exact versions in spawner/locks/.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "spawner/gpubox/__init__.py").read_text())[1]

setup(
    name="gpubox",
    version=VERSION,
    description="ML-in-a-box for your own GPU machines: pick a GPU in the browser, work on it",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    author="the gpubox authors",
    keywords=["jupyterhub", "jupyterlab", "gpu", "nvidia", "docker", "machine learning"],
    classifiers=[
        "Environment :: GPU :: NVIDIA CUDA",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    package_dir={"gpubox": "spawner/gpubox", "jupyterlab_gpubox": "extension/jupyterlab_gpubox"},
    packages=[*find_packages("spawner"), *find_packages("extension")],
    package_data={
        "gpubox": [
            "py.typed",
            "templates/**/*",
            "static/**/*",
            "migrations/*",
            "migrations/versions/*.py",
        ],
    },
    # The config that `gpubox run` takes where the directory has none of its own.
    data_files=[("share/gpubox", ["jupyterhub_config.py"])],
    install_requires=["nvidia-ml-py>=12.575"],
    extras_require={
        "hub": [
            "alembic>=1.13",
            "aiohttp>=3.9",
            "docker>=7.2",
            "dockerspawner>=14",
            "jinja2>=3.1",
            "jupyterhub>=6.1,<7",
            "psutil>=5.9",
            "requests>=2.31",
            "SQLAlchemy>=2.0",
            "traitlets>=5.14",
        ],
        # Servers as processes of this machine: the single-user server beside the hub.
        "process": ["jupyterhub>=6.1,<7", "jupyterlab>=4.4"],
        "postgres": ["psycopg[binary]>=3.2"],
        "test": [
            "build",
            "hypothesis",
            "jsonschema",
            "jupyterhub-idle-culler>=2",
            "mypy",
            "nvitop",
            "playwright",
            "pytest",
            "pytest-asyncio",
            "pytest-timeout",
            "ruff",
            "types-docker",
            "types-psutil",
            "types-requests",
            "websocket-client",
        ],
    },
    entry_points={
        "console_scripts": [
            "gpubox = gpubox.cli:main",
            "gpubox-singleuser = jupyterlab_gpubox.singleuser:main",
        ],
        "jupyterhub.spawners": [
            "gpubox = gpubox.engines.docker:DockerGPUSpawner",
            "gpubox-docker = gpubox.engines.docker:DockerGPUSpawner",
            "gpubox-process = gpubox.engines.process:ProcessGPUSpawner",
        ],
    },
    # Not beside README.md: the top of the tree holds only what people read.
    options={"egg_info": {"egg_base": "spawner"}},
    zip_safe=False,
)
