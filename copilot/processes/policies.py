"""The commands about policies: `copilot policy …`."""

from __future__ import annotations

import click


@click.group()
def policy() -> None:
    """Policies: what agents may propose, what runs alone, and who decides."""
