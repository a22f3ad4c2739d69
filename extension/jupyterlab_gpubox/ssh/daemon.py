"""OpenSSH's server for one connection at a time: ``sshd -i``, as this server's user and with no more rights.

What all connections share (the host key, the configuration) is made at the first one, in a directory that
this user alone may read, and goes with the server. Imported with the first connection.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ELSEWHERE = "/usr/local/sbin:/usr/sbin:/sbin"  # where sshd is, and a user's PATH need not lead
_BUFFER_BYTES = 1024 * 1024  # the system may allow less
_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{1,2048}")
# What a session sets by itself, or what belongs to the server's own terminal.
_NOT_PASSED_ON = re.compile(
    r"HOME|USER|LOGNAME|SHELL|MAIL|PWD|OLDPWD|SHLVL|TERM|COLUMNS|LINES|DISPLAY|XAUTHORITY|_|SSH_.*|"
    r"KERNEL_LAUNCH_.*|NOTIFY_SOCKET"
)

# sshd_config(5). No PAM and no password: the key of the connection is the only way in.
_CONFIG = """\
HostKey {directory}/host_key
PidFile none
UsePAM no
StrictModes no
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LoginGraceTime 30
MaxSessions 200
MaxStartups 200
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
AllowAgentForwarding yes
StreamLocalBindUnlink yes
GatewayPorts no
X11Forwarding no
PermitTunnel no
PrintMotd no
PrintLastLog no
Compression no
TCPKeepAlive no
UseDNS no
LogLevel ERROR
Ciphers aes128-gcm@openssh.com
AcceptEnv LANG LC_* TZ COLORTERM NO_COLOR GIT_*
Subsystem sftp internal-sftp
SetEnv {environment}
"""


class NoSSH(Exception):
    """This box cannot be reached by SSH; the message says why, and what to do."""


@dataclass(frozen=True)
class Daemon:
    """What every connection needs: the program, its configuration, who logs in, and how the box is known."""

    program: str
    directory: Path
    user: str
    host_key: str

    async def start(self, key: str) -> Connection:
        """Run an sshd that lets the holder of ``key`` (a public key, one line) in, once."""
        if not _KEY.fullmatch(key):
            raise NoSSH("The key that came with the connection is none.")
        allowed = self.directory / f"allowed-{secrets.token_hex(8)}"
        allowed.touch(mode=0o600)
        allowed.write_text(f"{key}\n")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        try:
            process = await asyncio.create_subprocess_exec(
                *(self.program, "-i", "-e", "-f", str(self.directory / "config")),
                *("-o", f"AuthorizedKeysFile={allowed}"),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            allowed.unlink()
            raise NoSSH(f"sshd could not be started: {error.strerror}.") from error
        finally:
            theirs.close()
        return Connection(ours, process, allowed)


@dataclass(frozen=True)
class Connection:
    """A running sshd: ``socket`` (non-blocking) is its standard input and output."""

    socket: socket.socket
    process: asyncio.subprocess.Process
    allowed: Path

    async def ended(self) -> str:
        """Wait until sshd has ended, and return what it complained of."""
        assert self.process.stderr is not None
        complaint = await self.process.stderr.read(4096)
        while await self.process.stderr.read(65536):
            pass
        await self.process.wait()
        self.allowed.unlink(missing_ok=True)
        return complaint.decode(errors="replace").strip()


@cache
def daemon() -> Daemon:
    """The box's SSH server, set up by the first call. Blocks; raises `NoSSH` with a sentence."""
    path = f"{os.environ.get('PATH', '')}:{_ELSEWHERE}"
    program, keygen = shutil.which("sshd", path=path), shutil.which("ssh-keygen", path=path)
    if program is None or keygen is None:
        raise NoSSH(
            "This machine's image has no SSH server. Choose another image, or have its maker add Debian's"
            " package openssh-server."
        )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise NoSSH(
            f"The user of this machine, number {os.geteuid()}, has no name: SSH needs one."
        ) from error
    directory = Path(tempfile.mkdtemp(prefix="gpubox-ssh-"))  # mode 700
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    key = directory / "host_key"
    subprocess.run(
        [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    config = directory / "config"
    config.touch(mode=0o600)
    config.write_bytes(configuration(directory, os.environ))
    if os.geteuid() == 0:
        # Root's sshd parts with its rights in this directory, which is there only where sshd is a service.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return Daemon(program, directory, user, " ".join(key.with_suffix(".pub").read_text().split()[:2]))


def configuration(directory: Path, environment: Mapping[str, str]) -> bytes:
    """The sshd_config(5) for a box: sessions have the environment that JupyterLab's terminals have."""
    settings = [_quoted(f"{name}={value}") for name, value in environment.items() if _passes(name, value)]
    # sshd takes the first SetEnv alone, and none without a variable.
    text = _CONFIG.format(directory=directory, environment=" ".join(settings or ["GPUBOX_SSH=1"]))
    return os.fsencode(text)


def _passes(name: str, value: str) -> bool:
    # A line of the configuration has no way to say a line break.
    return not _NOT_PASSED_ON.fullmatch(name) and not re.search(r"[\r\n\0]", name + value)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
