"""What can be wrong with what a person asked of the command line, before any room below it is involved."""

from __future__ import annotations

from runtime.faults import Fault, Retry, UsageFault


class UsageWrong(UsageFault):
    """An option or argument is missing, unknown, or not one of the values it takes."""

    code = "ingot.usage"


class SecretNeeded(UsageFault):
    """A passphrase or key file is needed, none was named, and there is no terminal to ask on."""

    code = "ingot.secret_needed"


class SecretUnreadable(UsageFault):
    """The file that should hold a passphrase or a key cannot be read, or cannot be made."""

    code = "ingot.secret_unreadable"


class DiskMissing(UsageFault):
    """The recovery point has no disk of this number."""

    code = "ingot.disk_missing"


class KeysUnfit(UsageFault):
    """A file of exported keys is not one, belongs to another repository, or cannot be written."""

    code = "ingot.keys_unfit"


class DemoFailed(Fault):
    """The demo could not make its disk, or what came back was not what went in."""

    code = "ingot.demo_failed"


class Interrupted(Fault):
    """Ctrl-C, or the process was asked to end. A point is whole or not there; the next run goes on from there."""

    code = "ingot.interrupted"


class Unexpected(Fault):
    """A fault of the program itself: please report it, with what `INGOT_TRACEBACK=1` shows."""

    code = "ingot.unexpected"


class CommServeAbsent(UsageFault):
    """No CommServe was named, and none was started here."""

    code = "ingot.commserve_absent"


class CommServeSilent(Fault):
    """The CommServe does not answer."""

    code = "ingot.commserve_silent"
    retry = Retry.LATER


class TokenUnreadable(UsageFault):
    """The file that should hold a token for the CommServe cannot be read, or others can read it too."""

    code = "ingot.token_unreadable"


class AuthorityUnreadable(UsageFault):
    """The file of certificates that the CommServe's must come from cannot be read, or holds none."""

    code = "ingot.authority_unreadable"


class NameUnknown(UsageFault):
    """Nothing of this kind has this name."""

    code = "ingot.name_unknown"


class UpFailed(Fault):
    """A service of `ingot up` did not start."""

    code = "ingot.up_failed"


class BundleExists(UsageFault):
    """A support bundle would be written where something is, or where nothing can be written."""

    code = "ingot.bundle_exists"
