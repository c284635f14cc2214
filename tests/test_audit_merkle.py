"""The Merkle tree is RFC 6962's: against published vectors, known roots and itself."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.audit import merkle, verifier

LEAVES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [  # of the first 1, 2, … of these leaves, as Certificate Transparency's own tests give them
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def vectors(kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = os.environ.get("COPILOT_TEST_DATA")
    if not folder:
        pytest.skip("COPILOT_TEST_DATA is not set")
    base = Path(folder) / "vectors" / "rfc6962" / kind
    found = [(str(path.relative_to(base)), json.loads(path.read_text())) for path in sorted(base.rglob("*.json"))]
    assert found, f"no vectors in {base}"
    return found


def test_known_roots() -> None:
    hashes = [merkle.leaf(leaf) for leaf in LEAVES]
    assert merkle.root([]).hex() == EMPTY
    assert [merkle.root(hashes[: size + 1]).hex() for size in range(8)] == ROOTS


def test_published_inclusion_vectors() -> None:
    for name, case in vectors("inclusion"):
        proof = [b64decode(item) for item in case["proof"] or []]
        good = merkle.included(b64decode(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, b64decode(case["root"]))
        assert good is not case["wantErr"], name


def test_published_consistency_vectors() -> None:
    for name, case in vectors("consistency"):
        proof = [b64decode(item) for item in case["proof"] or []]
        good = merkle.extends(case["size1"], case["size2"], proof, b64decode(case["root1"]), b64decode(case["root2"]))
        assert good is not case["wantErr"], name


@given(st.integers(1, 70), st.data())
def test_a_proof_holds_for_its_own_leaf_and_for_no_other(size: int, data: st.DataObject) -> None:
    hashes = [merkle.leaf(str(number).encode()) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion(hashes, index), merkle.root(hashes)
    assert merkle.included(hashes[index], index, size, proof, root)
    assert not merkle.included(merkle.leaf(b"other"), index, size, proof, root)
    assert not merkle.included(hashes[index], index, size, [*proof, root], root)
    assert not merkle.included(hashes[index], size, size, proof, root)


@given(st.integers(1, 70), st.data())
def test_a_longer_log_extends_a_shorter_and_not_another(size: int, data: st.DataObject) -> None:
    hashes = [merkle.leaf(str(number).encode()) for number in range(size)]
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency(hashes, old)
    assert merkle.extends(old, size, proof, merkle.root(hashes[:old]), merkle.root(hashes))
    assert not merkle.extends(old, size, proof, merkle.leaf(b"other"), merkle.root(hashes))


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_shipped_verifier_builds_the_same_tree(lines: list[bytes]) -> None:
    """It imports nothing of ours, so it has a tree of its own."""
    tree = verifier.Tree(set(range(len(lines) + 1)))
    for line in lines:
        tree.push(line)
    assert tree.roots == {size: merkle.root(merkle.leaf(line) for line in lines[:size]) for size in range(len(lines) + 1)}


def test_there_is_no_proof_of_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.inclusion([merkle.leaf(b"a")], 1)
    with pytest.raises(ValueError, match="consistency proof"):
        merkle.consistency([merkle.leaf(b"a")], 0)
