"""The authority, join tokens, sealed secrets."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from commserve.faults import JoinRefused, StateUnfit
from commserve.trust.authority import AGENT_DAYS, open_authority
from proto.channels import Caller
from proto.sealing import SealBroken, seal, unseal
from runtime.certificates import fingerprint, new_key, public_der, signing_request, uri_of
from tests.commserve.office import START, Office

AGENT = "ingot://agent/vsa/1"


def test_an_authority_is_made_once_and_its_keys_are_its_owners_alone(tmp_path: Path) -> None:
    first = open_authority(tmp_path / "authority", START)
    again = open_authority(tmp_path / "authority", START + timedelta(days=100))
    assert (again.pem, again.ticket_public_key) == (first.pem, first.ticket_public_key)
    for name in ("pair.pem", "ticket.pem"):
        assert stat.S_IMODE((tmp_path / "authority" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["pair.pem", "ticket.pem"])
@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_an_authority_that_is_damaged_is_not_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    """A new one would let no agent in: somebody must put the old one back."""
    open_authority(tmp_path, START)
    if damage == "gone":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(StateUnfit):
        open_authority(tmp_path, START)


def test_a_certificate_says_who_an_agent_is_and_nothing_that_its_request_asked_for(tmp_path: Path) -> None:
    authority, key = open_authority(tmp_path, START), new_key()
    wanted = [x509.UniformResourceIdentifier("ingot://commserve"), x509.DNSName("commserve.ingot")]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "commserve.ingot")]))
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    pem, end = authority.certify(Caller("vsa", "1"), request.public_bytes(Encoding.PEM), START)
    certificate = x509.load_pem_x509_certificate(pem)
    assert uri_of(certificate) == AGENT
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["1.vsa.ingot"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]  # a VSA serves nobody
    assert end == START + timedelta(days=AGENT_DAYS) == certificate.not_valid_after_utc
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem))


def test_a_request_that_is_none_is_refused(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, START)
    name = x509.Name([])
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    other_curve = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(Encoding.PEM)
    other_kind = builder.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(Encoding.PEM)
    for wrong in (b"", b"no request", other_curve, other_kind):
        with pytest.raises(JoinRefused, match="csr"):
            authority.certify(Caller("vsa", "1"), wrong, START)


def test_the_servers_certificate_is_kept_until_it_is_due_or_names_others(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "authority", START)
    server = tmp_path / "server"
    first = authority.server_identity(server, ["127.0.0.1", "backup.example"], START)
    names = first.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "backup.example" in names.get_values_for_type(x509.DNSName)
    assert authority.server_identity(server, ["127.0.0.1", "backup.example"], START + timedelta(days=59)) == first
    assert authority.server_identity(server, ["127.0.0.1", "backup.example"], START + timedelta(days=61)) != first
    assert authority.server_identity(server, ["other.example"], START) != first


def joining(office: Office, **other: object) -> dict[str, object]:
    return {"role": "vsa", "name": "v", "csr": signing_request(new_key(), "v").decode(), **other}


def ask_to_join(office: Office, token: str, **other: object) -> tuple[int, str]:
    answer = office.client.post("/api/v1/agents/join", json=joining(office, token=token, **other))
    return answer.status_code, answer.json().get("code", "")


def test_a_join_token_pins_the_authority_and_works_once(office: Office) -> None:
    made = office.post("/join-tokens", {"role": "vsa", "name": "v"})["token"]
    token, _, pinned = made.rpartition(".")
    certificate = office.client.get("/api/v1/authority").json()["certificate"].encode()
    assert fingerprint(x509.load_pem_x509_certificate(certificate)) == pinned
    assert ask_to_join(office, token)[0] == 200
    assert ask_to_join(office, token) == (403, "commserve.join_refused")


@pytest.mark.parametrize("wrong", [{"role": "mediaagent"}, {"name": "w"}, {"csr": "none"}])
def test_a_join_token_is_for_one_role_and_name_and_a_refusal_does_not_use_it_up(
    office: Office, wrong: dict[str, object]
) -> None:
    token = office.post("/join-tokens", {"role": "vsa", "name": "v"})["token"].rpartition(".")[0]
    assert ask_to_join(office, token, **wrong) == (403, "commserve.join_refused")
    assert ask_to_join(office, token)[0] == 200


def test_a_join_token_ends_after_an_hour(office: Office) -> None:
    token = office.post("/join-tokens", {"role": "vsa", "name": "v"})["token"].rpartition(".")[0]
    office.clock.pass_(hours=1)
    assert ask_to_join(office, token) == (403, "commserve.join_refused")


@pytest.mark.parametrize("token", ["", "x", "x.y", "ingot_x_y"])
def test_a_token_that_was_never_made_lets_nobody_join(office: Office, token: str) -> None:
    assert ask_to_join(office, token) == (403, "commserve.join_refused")


def test_a_name_is_free_again_once_its_agent_is_revoked(office: Office) -> None:
    ids = []
    for _ in range(2):
        token = office.post("/join-tokens", {"role": "vsa", "name": "v"})["token"].rpartition(".")[0]
        answer = office.client.post("/api/v1/agents/join", json=joining(office, token=token))
        ids.append(answer.json()["agent"])
        taken = office.post("/join-tokens", {"role": "vsa", "name": "v"})["token"].rpartition(".")[0]
        assert ask_to_join(office, taken) == (403, "commserve.join_refused")
        office.post(f"/agents/{ids[-1]}/revoke")
    assert len(set(ids)) == 2


def test_a_sealed_secret_opens_for_its_agent_and_its_use_alone() -> None:
    key, other = new_key(), new_key()
    sealed = seal(b"secret", public_der(key.public_key()), "hypervisor:1", AGENT)
    assert unseal(sealed, key, "hypervisor:1", AGENT) == b"secret"
    assert seal(b"secret", public_der(key.public_key()), "hypervisor:1", AGENT) != sealed
    for who, owner, agent in (
        (other, "hypervisor:1", AGENT),
        (key, "hypervisor:2", AGENT),
        (key, "hypervisor:1", AGENT + "2"),
    ):
        with pytest.raises(SealBroken):
            unseal(sealed, who, owner, agent)


def test_every_flipped_bit_of_a_sealed_secret_is_seen() -> None:
    key = new_key()
    sealed = seal(b"secret", public_der(key.public_key()), "o", AGENT)
    for position in range(len(sealed)):
        torn = bytearray(sealed)
        torn[position] ^= 1
        with pytest.raises(SealBroken):
            unseal(bytes(torn), key, "o", AGENT)
    for length in (0, 1, 66, 70, len(sealed) - 1):
        with pytest.raises(SealBroken):
            unseal(sealed[:length], key, "o", AGENT)


def test_nothing_is_sealed_to_what_is_no_key() -> None:
    for wrong in (b"", b"no key", public_der(new_key().public_key())[:-1]):
        with pytest.raises(SealBroken):
            seal(b"secret", wrong, "o", AGENT)
