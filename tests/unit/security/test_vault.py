"""The vault: what was sealed opens with the same owner only, and bad settings are one sentence."""

import pytest

from libs.common.clock import new_id
from libs.common.errors import OperatorError
from libs.common.security.encryption import CannotOpen, Vault, new_master_key

OLD, NEW = new_master_key("old"), new_master_key("new")


def test_only_the_owner_opens() -> None:
    tenant, record = new_id(), new_id()
    sealed = Vault(OLD).seal(tenant, record, b"plain text")
    assert b"plain" not in sealed
    assert Vault(OLD).open(tenant, record, sealed) == b"plain text"
    for owner in ((tenant, new_id()), (new_id(), record), (record, tenant)):
        with pytest.raises(CannotOpen):
            Vault(OLD).open(*owner, sealed)


def test_a_name_is_an_owner_too_and_never_one_with_an_id() -> None:
    tenant, record = new_id(), new_id()
    vault = Vault(OLD)
    sealed = vault.seal(tenant, "NAME", b"x")
    assert vault.open(tenant, "NAME", sealed) == b"x"
    for owner in ((tenant, "NAMES"), (tenant, ""), (new_id(), "NAME"), (tenant, record)):
        with pytest.raises(CannotOpen):
            vault.open(*owner, sealed)
    with pytest.raises(CannotOpen):
        vault.open(tenant, record.bytes.decode("latin-1"), vault.seal(tenant, record, b"x"))


def test_what_is_sealed_tells_its_key() -> None:
    both = Vault(f"{NEW},{OLD}")
    assert both.sealing_id == "new"
    assert both.seal(new_id(), "NAME", b"x").startswith(both.sealing_mark)
    assert not Vault(OLD).seal(new_id(), "NAME", b"x").startswith(both.sealing_mark)


def test_the_first_key_seals_and_all_open() -> None:
    tenant, record = new_id(), new_id()
    sealed = Vault(OLD).seal(tenant, record, b"x")
    both = Vault(f"{NEW}, {OLD}")
    assert both.open(tenant, record, sealed) == b"x"
    with pytest.raises(CannotOpen):
        Vault(OLD).open(tenant, record, both.seal(tenant, record, b"x"))


def test_a_damaged_record_does_not_open() -> None:
    tenant, record = new_id(), new_id()
    vault = Vault(OLD)
    sealed = vault.seal(tenant, record, b"x")
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(CannotOpen):
            vault.open(tenant, record, bytes(damaged))
        with pytest.raises(CannotOpen):
            vault.open(tenant, record, sealed[:position])


@pytest.mark.parametrize("keys", ["1", ":AAAA", "1:no base64!", "1:AAAA", f"{OLD},{OLD}", "a-b:AAAA"], ids=range(6))
def test_bad_settings(keys: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_MASTER_KEYS"):
        Vault(keys)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_MASTER_KEYS"):
        Vault("").seal(new_id(), new_id(), b"x")
