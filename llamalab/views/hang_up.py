"""A connection to a server that can be hung up from another thread, even while nothing comes.

Closing a `requests` response waits for whoever is reading it, and before the first byte there is
no response to close. Shutting down the socket ends both waits at once, and the server sees that
its reader has gone.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class ClosableSession:
    """Connections for one question: `session` asks through them, `hang_up()` ends them."""

    def __init__(self) -> None:
        self.session = requests.Session()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _Noting(self))
        self._sockets: list[socket.socket] = []
        self._hung_up = False
        self._lock = threading.Lock()

    def hang_up(self) -> None:
        """Whoever reads stops reading now; whoever connects from now on is cut off, too."""
        with self._lock:
            self._hung_up = True
            for connected in self._sockets:
                _shut(connected)

    def note(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connected)
            if self._hung_up:
                _shut(connected)


class _Noting(HTTPAdapter):
    """An adapter whose connections tell the session their sockets."""

    def __init__(self, owner: ClosableSession):
        self.owner = owner
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._note(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return self._note(super().proxy_manager_for(*args, **kwargs))

    def _note(self, manager: Any) -> Any:
        pools = manager.pool_classes_by_scheme.items()
        manager.pool_classes_by_scheme = {scheme: self._noting(pool) for scheme, pool in pools}
        return manager

    def _noting(self, pool: type) -> type:
        owner = self.owner

        class Connection(pool.ConnectionCls):
            def connect(self) -> None:
                super().connect()
                owner.note(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        connected.shutdown(socket.SHUT_RDWR)
