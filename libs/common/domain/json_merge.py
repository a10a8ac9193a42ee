"""JSON Merge Patch, RFC 7396."""

from typing import Any

from libs.common.domain.faults import is_object


def merge_patch(target: object, patch: object) -> Any:
    """`target` with what `patch` says: objects are merged, null removes, all else replaces. Neither is changed."""
    if not is_object(patch):
        return patch
    merged: dict[str, Any] = dict(target) if is_object(target) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
