"""What the scheduler asks the controller host."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class CheckoutState(TypedDict):
    """A checkout: who owns it (empty where it is missing), and whether it can run the environment."""

    owner: str
    usable: bool


class Checkout(FactBase[CheckoutState]):
    """Whether a folder is a checkout with the command and an environment's inventory."""

    @override
    @staticmethod
    def default() -> CheckoutState:
        return {"owner": "", "usable": False}

    @override
    def command(self, path: str, environment: str) -> StringCommand:
        gw, inventory = QuoteString(f"{path}/gw"), QuoteString(f"{path}/inventories/{environment}.py")
        return StringCommand(
            "stat -L -c %U --", QuoteString(path), "2>/dev/null || echo;",
            "if test -x", gw, "&& test -f", inventory, "; then echo usable; else echo missing; fi",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> CheckoutState:
        return {"owner": output[0].strip(), "usable": output[-1].strip() == "usable"}
