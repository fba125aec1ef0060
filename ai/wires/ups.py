"""Wire family "UPS-RS" (PS3.18 chapter 11, IHE AIW-I): a workitem in our own worklist; the vendor claims it, fetches, stores, completes.

The answer comes with the completed workitem, so there is nothing to poll.
"""

from ai.contract import Handle, Ways


def workitem_offer(handle: Handle, ways: Ways, *, label: str) -> str:
    """Returns the workitem's UID; the same job gives the same workitem. Raises PlatformError."""
    return ways.worklist.create(handle, label=label)


def workitem_withdraw(remote_id: str, ways: Ways) -> None:
    """Nobody waits any more."""
    ways.worklist.cancel(remote_id)
