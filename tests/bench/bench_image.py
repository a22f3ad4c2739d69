"""How large the image is, by layer. Run by `make bench`."""

from __future__ import annotations

import docker

IMAGE = "gpubox/cpu:latest"
LARGE_BYTES = 1 << 20


def main() -> None:
    """Print the size of the image and of its layers of a megabyte and more, the last one first."""
    image = docker.from_env().images.get(IMAGE)
    print(f"image size        {image.attrs['Size'] / 1e9:6.2f} GB")
    for layer in image.history():
        if layer["Size"] >= LARGE_BYTES:
            command = " ".join(layer["CreatedBy"].removeprefix("RUN /bin/sh -c").split())
            print(f"  layer           {layer['Size'] / 1e9:6.2f} GB  {command[:80]}")


if __name__ == "__main__":
    main()
