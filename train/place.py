"""Where the processes of a run are, as one of its machines sees it, and how these find each other."""

import ipaddress
import os
import socket
from dataclasses import dataclass

import psutil

from configs.errors import BadInputError, NodeError

ATTEMPT = "REPLIBENCH_ATTEMPT"  # its id, for the workers
_ANY_PORT, _OUTSIDE = 9, "192.0.2.1"  # of the documentation's network (RFC 5737): where the default route leads
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


def local_address(place: Place) -> str:
    """This machine's own address for the others: no name has to lead to it, as torchrun's default needs.

    That on the way to the first node; where a machine's own name leads to itself alone (Debian's 127.0.1.1), that of
    the interface which the environment names, or on the way to another node, or out. Raises BadInputError if none is
    other than that, NodeError where there is no way to the first node.
    """
    host, _, port = place.rendezvous.rpartition(":")
    found = _towards(host, int(port) or _ANY_PORT)
    if found is None:
        raise NodeError(f"no way from {place.name} to {host}, the first node")
    if len(place.names) == 1 or host == found or not _is_loopback(found):  # the same: all nodes are on one machine
        return found
    ways = [_of_interface(os.environ.get(INTERFACES[0])), *(_towards(name) for name in place.names), _towards(_OUTSIDE)]
    other = next((each for each in ways if each and not _is_loopback(each)), None)
    if other is None:
        raise BadInputError(
            f"launch.interface: {place.name} knows itself as {found} only, where no other node reaches it; name the "
            "network interface that leads to the others"
        )
    return other


def _towards(host: str, port: int = _ANY_PORT) -> str | None:
    """This machine's address on the way to `host`; None where there is none."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _of_interface(name: str | None) -> str | None:
    found = psutil.net_if_addrs().get(name or "", [])
    return next((each.address for each in found if each.family == socket.AF_INET), None)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


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
    interface = interface_of(local_address(place))
    return {INTERFACES[0]: interface} if interface else {}
