"""Where one Redis reply ends and the next begins, and where the texts lie in it."""

from __future__ import annotations

from dataclasses import dataclass, field

BULK, NESTED, TWICE_NESTED = b"$!=", b"*~>", b"%|"
PUSH = ord(">")


@dataclass
class ReplyCutter:
    """Cuts a stream of RESP2 or RESP3 bytes into whole replies."""

    _buffer: bytearray = field(default_factory=bytearray)
    _place: int = 0
    """How far the reply at the buffer's start has been looked at."""
    _missing: int = 1
    """Parts it still lacks."""

    def feed(self, received: bytes) -> list[bytes]:
        """The replies that are complete now, bytes unchanged."""
        self._buffer += received
        whole = []
        while self._advance():
            whole.append(bytes(self._buffer[: self._place]))
            del self._buffer[: self._place]
            self._place, self._missing = 0, 1
        return whole

    def _advance(self) -> bool:
        """Whether a whole reply lies between the buffer's start and `_place`."""
        while self._missing:
            end = self._buffer.find(b"\r\n", self._place)
            if end < 0:
                return False
            kind, after = self._buffer[self._place], end + 2
            count = 0
            if kind in BULK:
                length = int(self._buffer[self._place + 1 : end])
                after += length + 2 if length >= 0 else 0
                if after > len(self._buffer):
                    return False
            elif kind in NESTED or kind in TWICE_NESTED:
                count = max(int(self._buffer[self._place + 1 : end]), 0)
                count *= 2 if kind in TWICE_NESTED else 1
                count += 1 if kind == ord("|") else 0  # attributes come before the reply they are about
            self._place, self._missing = after, self._missing - 1 + count
        return True


def contents(reply: bytes) -> list[range]:
    """Where the bulk strings of a whole reply lie, without their lengths and line ends."""
    found, place = [], 0
    while place < len(reply):
        end = reply.index(b"\r\n", place)
        kind, place, start = reply[place], end + 2, place + 1
        length = int(reply[start:end]) if kind in BULK else -1
        if length >= 0:
            found.append(range(place, place + length))
            place += length + 2
    return found
