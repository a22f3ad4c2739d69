"""What this machine has for virtual machines: facts from the kernel, and the doctor's lines about them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .doctor import Check

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECURE_BOOT = (
    "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"  # UEFI's, section 3.3: its last byte is 1 or 0
)


@dataclass(frozen=True)
class VMHost:
    """``iommu_groups`` is 0 where the IOMMU is off; ``secure_boot`` is None with no UEFI.

    ``filters_bridges``: whether the firewall sees what goes over bridges; None where nothing does yet.
    ``lacks`` are packages that templates of machines need; ``makes_vgpus`` is whether a card makes mediated
    devices, which libvirt makes with mdevctl.
    """

    has_kvm: bool
    iommu_groups: int
    is_intel: bool
    has_vfio: bool
    secure_boot: bool | None = None
    filters_bridges: bool | None = None
    lacks: tuple[str, ...] = ()
    makes_vgpus: bool = False
    has_mdevctl: bool = True


_TOOLS = {"qemu-img": "qemu-utils", "e2image": "e2fsprogs"}
"""What templates of virtual machines are made with (`gpubox.engines.diskfile`), and the packages it is in."""


def look(root: Path = Path("/")) -> VMHost | None:
    """Look at this machine; None where no libvirt is installed, and nobody wants virtual machines."""
    if not any(shutil.which(name, path=_PATH) for name in ("libvirtd", "virtqemud")):
        return None
    lacks = [package for tool, package in _TOOLS.items() if not shutil.which(tool, path=_PATH)]
    has_mdevctl = shutil.which("mdevctl", path=_PATH) is not None
    return replace(read(root), lacks=tuple(lacks), has_mdevctl=has_mdevctl)


def read(root: Path) -> VMHost:
    """What the kernel tells below ``root`` of itself."""
    groups = root / "sys/kernel/iommu_groups"
    release = _text(root / "proc/sys/kernel/osrelease")
    variable = root / "sys/firmware/efi/efivars" / _SECURE_BOOT
    filtering = _text(root / "proc/sys/net/bridge/bridge-nf-call-iptables")
    modules = root / "lib/modules" / release
    vfio = (root / "sys/module/vfio_pci").exists() or "vfio-pci.ko" in (
        _text(modules / "modules.dep") + _text(modules / "modules.builtin")
    )
    return VMHost(
        has_kvm=(root / "dev/kvm").exists(),
        iommu_groups=len(list(groups.iterdir())) if groups.is_dir() else 0,
        is_intel="GenuineIntel" in _text(root / "proc/cpuinfo"),
        has_vfio=vfio,
        secure_boot=variable.read_bytes()[-1:] == b"\1" if variable.is_file() else None,
        filters_bridges=filtering == "1" if filtering else None,
        makes_vgpus=any((root / "sys/class/mdev_bus").glob("*")),
    )


def check(host: VMHost, *, has_gpus: bool) -> Check:
    """One line: what virtual machines would lack here, the worst first."""
    from .doctor import Check

    def warn(words: str, remedy: str) -> Check:
        return Check("vms", "warn", words, remedy)

    if not host.has_kvm:
        return warn(
            "no /dev/kvm: virtual machines are emulated, which is slow.",
            "switch VT-x or AMD-V on in the firmware, then modprobe kvm_intel or kvm_amd",
        )
    if host.filters_bridges is False:
        return warn(
            "the firewall does not see bridges: virtual machines could reach all of this host.",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1, and in /etc/sysctl.d to keep it",
        )
    if has_gpus and not host.iommu_groups:
        options = "intel_iommu=on iommu=pt" if host.is_intel else "iommu=pt"
        return warn(
            "the IOMMU is off: no GPU can go into a virtual machine.",
            f"switch VT-d or AMD-Vi on in the firmware, and boot the kernel with {options}"
            " (GRUB_CMDLINE_LINUX in /etc/default/grub, update-grub, reboot)",
        )
    if has_gpus and not host.has_vfio:
        return warn(
            "the kernel has no vfio-pci: no GPU can go into a virtual machine.",
            "install the distribution's full kernel (Debian: linux-image-amd64), then modprobe vfio-pci",
        )
    if host.lacks:
        packages = " ".join(host.lacks)
        return warn("virtual machines cannot be saved as templates.", f"apt-get install {packages}")
    if has_gpus and host.makes_vgpus and not host.has_mdevctl:
        return warn("virtual machines cannot have vGPUs.", "apt-get install mdevctl")
    words = f"KVM, {host.iommu_groups} IOMMU groups, vfio-pci" if host.iommu_groups else "KVM"
    if has_gpus and host.secure_boot:
        return Check("vms", "ok", f"{words}. Secure Boot is on, so the driver must be signed")
    return Check("vms", "ok", words)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
