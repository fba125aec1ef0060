"""MLLP release 1 (HL7 v2 transport specifications, appendix C): <SB> message <EB><CR>. Bytes in, messages out; nothing is kept for ever."""

START, END, RETURN = 0x0B, 0x1C, 0x0D
TAIL = bytes((END, RETURN))
MESSAGE_BYTES = 4 << 20  # of one message: a report with a PDF in it has some


class FramingError(Exception):
    """The peer does not speak MLLP, or a message is larger than we take."""


def frame(message: bytes) -> bytes:
    return bytes((START,)) + message + TAIL


class Frames:
    """The messages of one connection. `feed` gives those that are whole; bytes between frames must be white space."""

    def __init__(self, *, limit: int = MESSAGE_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0  # of the message that has begun: no end before here

    @property
    def is_amid(self) -> bool:
        """Has a message begun that is not over yet?"""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Raises FramingError: nothing that follows can be trusted."""
        self._buffer += data
        found: list[bytes] = []
        while True:
            begin = self._buffer.find(START)
            before = self._buffer if begin < 0 else self._buffer[:begin]
            if before.strip():
                raise FramingError("bytes outside of a frame")
            if begin < 0:
                self._buffer.clear()
                return found
            del self._buffer[:begin]
            end = self._buffer.find(TAIL, self._seen)
            if end < 0:
                self._seen = max(len(self._buffer) - 1, 0)  # whoever sends byte after byte is not searched from the start each time
                if len(self._buffer) > self._limit:
                    raise FramingError("a message is too large")
                return found
            if end > self._limit:
                raise FramingError("a message is too large")
            found.append(bytes(self._buffer[1:end]))
            del self._buffer[: end + len(TAIL)]
            self._seen = 0
