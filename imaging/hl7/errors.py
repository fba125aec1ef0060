"""Why a message is not taken. Words are ours and name a segment or field, never a value."""


class MessageRefused(Exception):
    """`where` is like OBR-18 (segment and field), `code` what the acknowledgement says: AE, an error in it, or AR, not for us at all."""

    def __init__(self, where: str, words: str, *, code: str = "AE") -> None:
        super().__init__(f"{where}: {words}")
        self.where, self.words, self.code = where, words, code

    @property
    def user_message(self) -> str:
        return str(self)
