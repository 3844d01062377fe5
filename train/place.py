"""Where the processes of a run are, as one of its machines sees it, and how these find each other."""

import os
import socket
from dataclasses import dataclass

import psutil

ATTEMPT = "REPLIBENCH_ATTEMPT"  # its id, for the workers
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Place:
    """One machine's part of an attempt: `processes` on each of the nodes `names`, of which this is number `rank`."""

    names: tuple[str, ...]
    rank: int
    processes: int
    rendezvous: str  # HOST:PORT on the first of them
    attempt: str

    @property
    def world_size(self) -> int:
        """Processes of the run."""
        return len(self.names) * self.processes

    @property
    def is_first(self) -> bool:
        """Whether this machine prepares the run and says how it ended."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """Of this machine."""
        return self.names[self.rank]


def here(processes: int) -> Place:
    """All of a run on this machine. Port 0: a fresh one for each attempt."""
    return Place(names=(socket.gethostname(),), rank=0, processes=processes, rendezvous="127.0.0.1:0", attempt="")


def local_address(rendezvous: str) -> str:
    """This machine's own address on the way to the first: no name has to lead to it, as torchrun's default needs.

    Debian's 127.0.1.1 for the machine's own name would be told to the others.
    """
    host, _, port = rendezvous.rpartition(":")
    family, *_, address = socket.getaddrinfo(host, int(port) or 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The network interface that has this address; None where none says so."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            return str(name)
    return None


def network_environment(place: Place) -> dict[str, str]:
    """For the workers: gloo takes the interface on the way to the first node, unless the environment names another.

    NCCL looks for its own, InfiniBand first, unless one is named.
    """
    if os.environ.get(INTERFACES[0]) or len(place.names) == 1:
        return {}
    interface = interface_of(local_address(place.rendezvous))
    return {INTERFACES[0]: interface} if interface else {}
