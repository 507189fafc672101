"""The self-test passes on a sound machine and names the variant that answers wrongly."""

import hmac
import re

import pytest

from ext import cut, fingerprint, selftest


def test_every_kernel_of_this_machine_passes():
    selftest.run()


def test_the_hmac_answers_are_those_of_the_standard_library():
    for key, message, answer in selftest.HMAC_ANSWERS:
        assert hmac.digest(key, message, "sha256").hex() == answer


def test_a_wrong_cut_names_the_kernel(monkeypatch):
    monkeypatch.setattr(selftest, "CHUNK_LENGTHS", (1, 2, 3))
    with pytest.raises(selftest.SelfTestFailed, match=f"cut kernel {cut.kernel()}"):
        selftest.run()


def test_a_wrong_fingerprint_names_the_kernel(monkeypatch):
    monkeypatch.setattr(selftest, "FINGERPRINTS", "00")
    with pytest.raises(selftest.SelfTestFailed, match=f"fingerprint kernel {re.escape(fingerprint.kernel())}"):
        selftest.run()
