"""The sealed secrets of a trigger: what goes in comes out, for its trigger only."""

from datetime import UTC, datetime

import msgspec
import pytest

from libs.common.clock import new_id
from libs.common.security.encryption import CannotOpen, Vault, new_master_key
from libs.common.security.trigger_secrets import (
    TriggerSecret,
    open_trigger_secrets,
    seal_trigger_secrets,
    shown_prefix,
)

VAULT = Vault(new_master_key())
TENANT, TRIGGER = new_id(), new_id()
NEW = TriggerSecret(new_id(), "new-secret")
OLD = TriggerSecret(new_id(), "old-secret", datetime(2026, 11, 21, 12, tzinfo=UTC))


def test_both_secrets_come_out_as_they_went_in() -> None:
    assert open_trigger_secrets(VAULT, TENANT, TRIGGER, seal_trigger_secrets(VAULT, TENANT, TRIGGER, NEW)) == (NEW,)
    sealed = seal_trigger_secrets(VAULT, TENANT, TRIGGER, NEW, OLD)
    assert open_trigger_secrets(VAULT, TENANT, TRIGGER, sealed) == (NEW, OLD)
    with pytest.raises(CannotOpen):
        open_trigger_secrets(VAULT, TENANT, new_id(), sealed)
    with pytest.raises(CannotOpen):
        open_trigger_secrets(VAULT, new_id(), TRIGGER, sealed)


def test_a_secret_without_an_end_is_none_that_came_before() -> None:
    sealed = seal_trigger_secrets(VAULT, TENANT, TRIGGER, NEW, TriggerSecret(new_id(), "for-ever"))
    assert open_trigger_secrets(VAULT, TENANT, TRIGGER, sealed) == (NEW,)


def test_a_secret_from_before_secrets_had_ids_goes_by_its_trigger() -> None:
    sealed = VAULT.seal(TENANT, TRIGGER, msgspec.json.encode({"secret": "older"}))
    assert open_trigger_secrets(VAULT, TENANT, TRIGGER, sealed) == (TriggerSecret(TRIGGER, "older"),)


def test_little_is_shown_of_a_secret() -> None:
    assert [shown_prefix(text) for text in ("12345678", "whsec_" + "x" * 43, "", "abc")] == ["12", "whsec_xxxx", "", ""]
    assert "secret" not in f"{NEW!r} {OLD!s}"
