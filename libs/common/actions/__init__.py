"""What third parties write actions with: one decorated class, found through the entry-point group `signalbox.actions`.

    @action("shout", title="Shout", example={"text": "hello"})
    class Shout:
        class Config(msgspec.Struct, frozen=True):
            text: str

        async def run(self, config: Config, context: Context) -> object:
            return {"text": config.text.upper()}

`docs/actions.md` says the rest. These names stay; everything else may change from release to release.
"""

from libs.common.actions.declaring import Context, action
from libs.common.domain.execution import Failure
from libs.common.domain.pure_actions import ActionFailed

__all__ = ["ActionFailed", "Context", "Failure", "action"]
