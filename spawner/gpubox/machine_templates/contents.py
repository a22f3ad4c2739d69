"""What of a machine stays out of a template, and what in it looks like a secret: functions over paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Mounts of a box's own: what is below them is never in its layer, so nobody has to take it out again. Homes
# are among them: root's holds the history, caches and credentials of whoever works as root.
PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108  # in the box
PRIVATE_OF_ROOT = ("/root", "/var/log", "/var/cache/apt", "/var/lib/apt/lists")

# Of these the folders are kept, empty: nginx does not start without its /var/log/nginx.
FOLDERS_KEPT = ("/var/log",)
# A virtual machine mounts less: these are on its disk. Its user's home is a disk of its own.
_PRIVATE_ON_DISK = (*PRIVATE, *PRIVATE_OF_ROOT, "/home/jovyan")

# What else names one machine or one person, wherever an image or a package puts it.
_LEFT_OUT = re.compile(
    r"/etc/ssh/ssh_host_[^/]+"
    r"|/etc/machine-id|/var/lib/dbus/machine-id|/var/lib/systemd/(random-seed|credential\.secret)"
    r"|/var/lib/systemd/coredump/.+|/var/crash/.+|/var/lib/dhcp/.+\.leases?|/var/lib/NetworkManager/secret_key"
    r"|/(tmp|var/tmp|var/cache/apt/archives|var/lib/apt/lists)/.+"
    r"|.*/\.(bash|python|zsh|sqlite|psql|mysql|node_repl|lesshs)_?(history|hst)"
    r"|.*/\.(lesshst|viminfo|wget-hsts|sudo_as_admin_successful)"
    r"|(/root|/home/[^/]+)/\.cache(/.*)?"
)

# Names under which tools keep credentials: their own documentation says so.
_SECRET = re.compile(
    r"/(\.netrc|_netrc|\.pgpass|\.my\.cnf|\.git-credentials|\.pypirc|\.npmrc|\.env(\.[\w-]+)?|\.htpasswd"
    r"|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|credentials\.json|service[-_]account[^/]*\.json|application_default_credentials\.json"
    r"|kaggle\.json|rclone\.conf|\.s3cfg|\.boto|secrets?\.(ya?ml|json|toml)|\.vault-token|[^/]*\.(kdbx|p12|pfx|jks))$"
    r"|/\.(aws|azure|kube|docker|config/gcloud|config/gh|gnupg)/"
    r"|/\.?(huggingface|cache/huggingface)/(token|stored_tokens)$"
    r"|/\.?[\w-]*(token|password|passwd|api[-_]?key)s?(\.txt)?$",
    re.IGNORECASE,
)
# Files that may hold a private key; whether they do, their first lines tell.
_KEY = re.compile(r"\.(pem|key|ppk)$", re.IGNORECASE)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|^PuTTY-User-Key-File", re.MULTILINE)
# Programs and manuals of packages: full of files that are called after secrets and hold none.
_OF_PACKAGES = re.compile(
    r"/usr/(bin|include|lib|lib64|libexec|sbin|share|src)/|/etc/(pam\.d|security|ssl/certs|passwd-?$|alternatives)"
    r"|/var/lib/(dpkg|apt|pam)/|/(site|dist)-packages/|/node_modules/|/conda/pkgs/"
)


def left_out(path: str) -> bool:
    """Whether a path stays out of a template though it may be in the machine's layer."""
    return _LEFT_OUT.fullmatch(path) is not None


def is_private(path: str, *, is_folder: bool) -> bool:
    """Whether a path of a virtual machine's disk stays out of a template."""
    above = next((one for one in _PRIVATE_ON_DISK if path.startswith(f"{one}/")), "")
    return left_out(path) or (above != "" and not (is_folder and above in FOLDERS_KEPT))


def outermost(paths: Iterable[str]) -> list[str]:
    """Those of the paths that are below none of the others."""
    found: list[str] = []
    for path in sorted(paths):
        if not found or not path.startswith(f"{found[-1]}/"):
            found.append(path)
    return found


def suspects(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of the paths that are kept: those that look like a secret, and those of which the content must tell."""
    kept = [path for path in paths if not left_out(path) and not _OF_PACKAGES.search(path)]
    named = [path for path in kept if _SECRET.search(path)]
    keys = [path for path in kept if _KEY.search(path) and path not in set(named)]
    return named, keys


def holds_private_key(beginning: bytes) -> bool:
    """Whether a file that begins so has a private key in it."""
    return _PRIVATE_KEY.search(beginning) is not None
