"""Where a passphrase or a key comes from: an option, the environment, or the terminal. Never the command line itself.

An option goes before the environment; what the terminal is asked for is a passphrase.
"""

from __future__ import annotations

import getpass
import importlib
import json
import os
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingot.cli.screen import Screen
from ingot.faults import SecretNeeded, SecretUnreadable, UsageWrong

if TYPE_CHECKING:
    from ingot.embedded import Repo
    from media.key_slots import Secret

_WAYS = (
    "give --passphrase-file FILE or --key-file FILE, set INGOT_PASSPHRASE_FILE or INGOT_KEY_FILE, "
    "or run it on a terminal"
)


class Named(NamedTuple):
    """The file that was named, if any; one of both at most."""

    passphrase: Path | None = None
    key: Path | None = None


def named(passphrase: Path | None, key: Path | None) -> Named:
    """What the options name, else what the environment names. Raises UsageWrong when they name both kinds."""
    if passphrase is None and key is None:
        passphrase, key = _environment("INGOT_PASSPHRASE_FILE"), _environment("INGOT_KEY_FILE")
    if passphrase is not None and key is not None:
        raise UsageWrong(f"expected one secret, found a passphrase file {passphrase} and a key file {key}")
    return Named(passphrase, key)


def _environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def open_named(
    url: str, passphrase: Path | None, key: Path | None, screen: Screen, limit_rate: str | None = None
) -> Repo:
    """Open a repository with the secret that was named; asks only when it is encrypted and none was.

    What is asked of the place is counted, and paced where there is a limit.
    """
    from ingot.limit_rate import rates_of
    from media.faults import KeyNeeded
    from media.key_slots import NoSecret
    from media.pool import open_pool
    from media.repository.counted import Counts
    from media.repository.locate import open_place
    from runtime.clock import SystemClock
    from runtime.pacing import Pace

    counts = Counts()
    pace = None if limit_rate is None else Pace(rates_of(limit_rate), SystemClock())
    files = named(passphrase, key)
    secret = secret_in(files, screen) if files != Named() else NoSecret()
    # Stretching a passphrase takes a third of a second of one core: the other loads the rest meanwhile.
    loading = threading.Thread(target=importlib.import_module, args=("ingot.embedded",))
    loading.start()
    try:
        place = open_place(url, counts, pace)
        try:
            pool = open_pool(place, secret)
        except KeyNeeded as fault:
            pool = open_pool(place, ask(str(fault), twice=False))
    finally:
        loading.join()  # an import that outlives the program's end fails, and prints its traceback after our fault
    from ingot.embedded import Repo
    from media.container_reader import ContainerReader

    return Repo(pool, ContainerReader(pool), screen.notes, counts=counts)


def secret_in(files: Named, screen: Screen) -> Secret:
    """The secret that a file holds. Raises SecretUnreadable, KeyUnfit."""
    from media.faults import KeyUnfit
    from media.key_slots import KeyFile, Passphrase

    path = files.passphrase or files.key
    assert path is not None
    text = _read(path, screen)
    try:
        return Passphrase(text) if files.passphrase is not None else KeyFile(text)
    except KeyUnfit as fault:
        raise KeyUnfit(f"{path}: {fault}") from fault


def ask(why: str, *, twice: bool) -> Secret:
    """A passphrase from the terminal. Raises SecretNeeded when there is none."""
    from media.faults import KeyUnfit
    from media.key_slots import Passphrase

    if not sys.stdin.isatty():
        raise SecretNeeded(f"{why}; {_WAYS}")
    try:
        text = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Once more: ") != text:
            raise KeyUnfit("passphrase: expected the same twice, found two different ones")
    except EOFError:
        raise SecretNeeded(f"{why}; the terminal gave none") from None
    return Passphrase(text)


class NewSecret(NamedTuple):
    """A secret for a new key slot, and the key file that was made for it, if one was."""

    secret: Secret
    made: Path | None

    def withdraw(self) -> None:
        """No slot was put that it opens."""
        if self.made is not None:
            self.made.unlink(missing_ok=True)


def new_secret(files: Named, screen: Screen) -> NewSecret:
    """The secret for a new key slot; a key file that does not exist is made, for its owner only."""
    from media.key_slots import KeyFile

    if files == Named():
        return NewSecret(ask("a new secret is needed", twice=True), None)
    if files.key is None or os.path.lexists(files.key):
        return NewSecret(secret_in(files, screen), None)
    text = KeyFile.generate()
    write_private(files.key, text)
    return NewSecret(KeyFile(text), files.key)


def write_private(path: Path, text: str) -> None:
    """A new file that only its owner reads, durable on return. Raises SecretUnreadable, also when the name is taken."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SecretUnreadable(f"{path}: cannot be made: {error.strerror}") from error


def document_in(path: Path, screen: Screen) -> dict[str, Any]:
    """A secret that is a JSON object. Raises SecretUnreadable, whose message holds nothing of it."""
    try:
        found = json.loads(_read(path, screen))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SecretUnreadable(f"{path}: expected a JSON object, found something else")
    return found


def line_in(path: Path, screen: Screen) -> str:
    """A secret that is the first line of a file. Raises SecretUnreadable."""
    line = _read(path, screen).partition("\n")[0].removesuffix("\r")
    if not line:
        raise SecretUnreadable(f"{path}: expected a secret in the first line, found nothing")
    return line


def _read(path: Path, screen: Screen) -> str:
    try:
        text = path.read_bytes().decode()
        mode = path.stat().st_mode
    except OSError as error:
        raise SecretUnreadable(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SecretUnreadable(f"{path}: expected text in UTF-8, found other bytes") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        screen.note(f"{path}: others than its owner may read it; `chmod 600 {path}` changes that")
    return text
