"""What can go wrong with bytes, in two words: gone, or away."""


class ObjectMissingError(FileNotFoundError):
    """The bytes of a key are not there, or not those that were put there."""

    user_message = "the object's bytes are missing or damaged"


class StoreAwayError(OSError):
    """The object store was not reached, refused us or did not answer in time. Worth another try."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message
