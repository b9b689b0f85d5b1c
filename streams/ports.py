"""Free ports on the loopback, so that two copies on one machine never meet."""

import errno
import random
import socket

LOOPBACK = "127.0.0.1"
NEIGHBOURS = 50
"""How many ports after the wanted one are tried."""
LASTING = range(20_000, 32_768)
"""Any port is one of these: above them, systems hand out the ports of clients, and a port is soon somebody else's."""


class NoFreePort(Exception):
    """Neither the wanted port nor one of those after it is free.

    Attributes:
        host: the address tried.
        port: the first port tried.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(f"no free port on {host} from {port} to {port + NEIGHBOURS}; choose another, or 0 for any")


def bind(port: int, host: str = LOOPBACK) -> socket.socket:
    """A listening socket on `port` or the next free one after it; 0: any.

    Raises:
        NoFreePort: none is free.
        OSError: the host is no address of this machine.
    """
    some = (*random.sample(LASTING, NEIGHBOURS), 0)
    for candidate in range(port, min(port + NEIGHBOURS, 65535) + 1) if port else some:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            # A port whose last connection is in TIME_WAIT is free; one that somebody listens on is not, even so.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, candidate))
            listening.listen()
        except OSError as error:
            listening.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return listening
    raise NoFreePort(host, port)


def free(port: int = 0, *, before: int | None = None, host: str = LOOPBACK) -> int:
    """A port that is free now: the one used before, else `port`, else the next free one after it; 0: any.

    Another program may take it at any time: who is to listen on it ends then, and a port is chosen anew.

    Raises:
        NoFreePort: none is free.
    """
    if before is not None:
        with bind(before, host) as listening:
            if listening.getsockname()[1] == before:
                return before
    with bind(port, host) as listening:
        return int(listening.getsockname()[1])


def url(host: str, port: int) -> str:
    """Where a server on `host` is reached from this machine: by the loopback where it listens on every address."""
    reached = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


def several(count: int) -> tuple[int, ...]:
    """That many different ports of the loopback, free now."""
    held = [bind(0) for _ in range(count)]
    chosen = tuple(int(each.getsockname()[1]) for each in held)
    for each in held:
        each.close()
    return chosen
