"""What tests stand on: servers, a toolbox whose effects can be counted, people, and the invariants' checker."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
