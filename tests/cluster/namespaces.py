"""Two hosts on this machine: network namespaces joined by a cable of their own, each with a name. For tests alone."""

import os
import shutil
import subprocess
from pathlib import Path

ETC = Path("/etc/netns")  # what `ip netns exec` lays over /etc
A, B = (f"rb{os.getpid()}{letter}" for letter in "ab")  # other tests on this machine may have theirs
HOSTS = {A: "10.79.0.1", B: "10.79.0.2"}
# What ssh is to real hosts: COMMAND HOST SHELL-WORDS, in the host's network and with its name.
REMOTE = """#!/bin/bash
for host in HOSTS; do [ "${host#*=}" = "$1" ] && name=${host%=*}; done
shift
exec ip netns exec "$name" unshare --uts bash -c 'hostname "$0"; eval "$*"' "$name" "$@"
"""


def why_not() -> str | None:
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return "network namespaces need root, ip and unshare"
    made = subprocess.run(["ip", "netns", "add", A], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", A], capture_output=True, check=False)
    return f"no network namespaces here: {made.stderr.strip()}" if made.returncode else None


class Hosts:
    """The two, while entered; whoever still runs in one at the end is killed."""

    def __init__(self, directory: Path) -> None:
        self.command = directory / "remote"

    def __enter__(self) -> "Hosts":
        self.command.write_text(
            REMOTE.replace("HOSTS", " ".join(f"{name}={address}" for name, address in HOSTS.items()))
        )
        self.command.chmod(0o755)
        for name in HOSTS:
            etc = ETC / name
            etc.mkdir(parents=True, exist_ok=True)
            others = [(address, host) for host, address in HOSTS.items() if host != name]
            known = [("127.0.0.1", "localhost"), ("127.0.1.1", name), *others]  # as Debian has it
            (etc / "hosts").write_text("".join(f"{address} {host}\n" for address, host in known))
            (etc / "resolv.conf").write_text("")  # nobody answers there: a name that is not above fails at once
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "cable", "netns", A, "type", "veth", "peer", "name", "cable", "netns", B)
        for name, address in HOSTS.items():
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
        return self

    def __exit__(self, *unused: object) -> None:
        for name in HOSTS:
            self.kill(name)
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=20)
            shutil.rmtree(ETC / name, ignore_errors=True)

    def kill(self, name: str) -> None:
        """As if its power were cut: no process in it has time for a word, and nothing comes through the cable."""
        subprocess.run(["ip", "-n", name, "link", "set", "cable", "down"], capture_output=True, check=False, timeout=20)
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False, timeout=20)
        subprocess.run(["kill", "-9", *listed.stdout.split()], capture_output=True, check=False, timeout=20)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20, capture_output=True)
