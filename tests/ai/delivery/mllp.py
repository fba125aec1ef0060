"""A system on loopback that takes HL7 v2 messages and answers as the test wants: AA, AE, AR, nothing, garbage, half a frame."""

import socket
import threading
from types import TracebackType

from imaging.hl7.frames import Frames, frame
from imaging.hl7.reading import Told


class MllpPeer:
    """`answers` are used one a message, the last one for ever. `taken` is what came."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.taken = list(answers) or ["AA"], list[Told]()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "MllpPeer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for sock in self._held:
            sock.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._door.accept()
            except OSError:
                return
            frames, messages = Frames(), list[bytes]()
            while not messages and (data := sock.recv(65536)):
                messages = frames.feed(data)
            for body in messages:
                self.taken.append(Told(body))
                self._answer(sock, self.taken[-1])

    def _answer(self, sock: socket.socket, told: Told) -> None:
        how = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        ack = f"MSH|^~\\&|EHR||||20260705||ACK|1|P|2.5.1\rMSA|{how}|{told.control_id}\r".encode()
        if how == "nothing":
            self._held.append(sock)
            return
        sent = {"garbage": b"HTTP/1.1 400 Bad\r\n", "half": frame(ack)[:30], "goodbye": b""}
        sent["other"] = frame(ack.replace(b"|other|", b"|AA|x"))
        sock.sendall(sent.get(how, frame(ack)))
        sock.close()
