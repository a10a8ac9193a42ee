"""The vault: what was sealed opens with the same owner only, and bad settings are one sentence."""

from uuid import UUID

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


def test_a_data_key_opens_what_it_sealed_for_its_tenant_and_nothing_else_does() -> None:
    tenant, other, vault = new_id(), new_id(), Vault(OLD)
    key, foreign = vault.new_data_key(tenant), vault.new_data_key(other)
    sealed = vault.seal(tenant, "NAME", b"plain text", key)
    assert b"plain" not in sealed and vault.open(tenant, "NAME", sealed, key) == b"plain text"
    wrong = [
        (tenant, "NAME", sealed, None), (tenant, "NAME", sealed, foreign), (tenant, "OTHER", sealed, key),
        (other, "NAME", sealed, foreign), (other, "NAME", sealed, key), (tenant, "NAME", sealed[:-1], key),
        (tenant, "NAME", sealed[:9], key), (tenant, "NAME", b"\x02", key),
        (tenant, "NAME", sealed, vault.new_data_key(tenant)),
        (tenant, "NAME", sealed, key[:-1]), (tenant, "NAME", key, key),
    ]  # fmt: skip
    for owner, record, given, data_key in wrong:
        with pytest.raises(CannotOpen):
            vault.open(owner, record, given, data_key)
    with pytest.raises(CannotOpen):
        Vault(NEW).open(tenant, "NAME", sealed, key)
    assert vault.open(tenant, "NAME", vault.seal(tenant, "NAME", b"before"), key) == b"before"


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


def test_what_was_sealed_long_ago_still_opens() -> None:
    """The form of a record does not change: installations have them."""
    key = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    tenant, record = UUID(int=1), UUID(int=2)
    sealed = bytes.fromhex("01026b316465666768696a6b6c6d6e6f3bd877050b8c229cf006ff3a4d9c32d6df906e4cb36c56")
    assert Vault(key).open(tenant, record, sealed) == "s\u00e9cret".encode()


def test_the_same_plaintext_is_never_sealed_alike() -> None:
    tenant, record, vault = new_id(), new_id(), Vault(OLD)
    assert len({vault.seal(tenant, record, b"x") for _ in range(1000)}) == 1000


@pytest.mark.parametrize("plaintext", [b"", b"\0", bytes(1_000_000)], ids=["nothing", "null", "large"])
def test_whatever_was_sealed_comes_out(plaintext: bytes) -> None:
    tenant, record, vault = new_id(), new_id(), Vault(OLD)
    assert vault.open(tenant, record, vault.seal(tenant, record, plaintext)) == plaintext


def test_a_key_of_the_same_name_does_not_open() -> None:
    tenant, record = new_id(), new_id()
    sealed = Vault(OLD).seal(tenant, record, b"x")
    with pytest.raises(CannotOpen, match="damaged or belongs to another record"):
        Vault(new_master_key("old")).open(tenant, record, sealed)


def test_after_a_change_of_keys_the_old_one_can_go() -> None:
    """Old key; both, the new one in front; sealed again; the new one only."""
    tenant, record = new_id(), new_id()
    both = Vault(f"{NEW},{OLD}")
    again = both.seal(tenant, record, both.open(tenant, record, Vault(OLD).seal(tenant, record, b"x")))
    assert Vault(NEW).open(tenant, record, again) == b"x"
    with pytest.raises(CannotOpen, match="'new'"):
        Vault(OLD).open(tenant, record, again)


def test_a_damaged_record_does_not_open() -> None:
    tenant, record = new_id(), new_id()
    vault = Vault(OLD)
    sealed = vault.seal(tenant, record, b"x")
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        for bit in range(8):
            damaged[position] = sealed[position] ^ 1 << bit
            with pytest.raises(CannotOpen):
                vault.open(tenant, record, bytes(damaged))
        with pytest.raises(CannotOpen):
            vault.open(tenant, record, sealed[:position])


@pytest.mark.parametrize("keys", ["1", ":AAAA", "1:no base64!", "1:AAAA", f"{OLD},{OLD}", "a-b:AAAA"], ids=range(6))
def test_bad_settings(keys: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_MASTER_KEYS"):
        Vault(keys)


@pytest.mark.parametrize(
    "keys",
    ["correct-horse-battery", "correcthorsebattery", "1:correcthorsebattery", f"{OLD},correcthorsebattery"],
    ids=["words", "no colon", "no base64", "the second"],
)
def test_a_bad_setting_is_not_shown(keys: str) -> None:
    """Somebody may have taken a password for a key."""
    with pytest.raises(OperatorError) as refused:
        Vault(keys)
    assert "battery" not in refused.value.detail


def test_a_vault_shows_no_key() -> None:
    vault = Vault(OLD)
    vault.seal(new_id(), new_id(), b"x")
    assert OLD.partition(":")[2] not in repr(vault) + str(vault)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_MASTER_KEYS"):
        Vault("").seal(new_id(), new_id(), b"x")
