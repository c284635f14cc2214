"""The RFC 6962 Merkle tree: leaf = SHA-256(0x00 ‖ line), node = SHA-256(0x01 ‖ left ‖ right), empty = SHA-256 of nothing.

All functions take leaf hashes (32 bytes each), in order. Proofs are lists of node hashes, nearest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def leaf(line: bytes) -> bytes:
    """The hash of one leaf; `line` has no newline."""
    return hashlib.sha256(b"\x00" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash above two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree that remembers one hash for each complete subtree: a million leaves take twenty hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def push(self, leaf_hash: bytes) -> None:
        """Add the next leaf."""
        self._peaks.append(leaf_hash)
        self.size += 1
        ones = self.size
        while ones % 2 == 0:
            right = self._peaks.pop()
            self._peaks[-1] = node(self._peaks[-1], right)
            ones //= 2

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return hashlib.sha256().digest()
        result = self._peaks[-1]
        for left in reversed(self._peaks[:-1]):
            result = node(left, result)
        return result


def root(hashes: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes."""
    tree = Tree()
    for leaf_hash in hashes:
        tree.push(leaf_hash)
    return tree.root()


def inclusion(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that leaf `index` is in the tree over `hashes`."""
    if not 0 <= index < len(hashes):
        raise ValueError("there is no such leaf")
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*inclusion(hashes[:split], index), root(hashes[split:])]
    return [*inclusion(hashes[split:], index - split), root(hashes[:split])]


def consistency(hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """The proof that the tree over the first `old_size` leaves is a prefix of the tree over `hashes`."""
    if not 0 < old_size <= len(hashes):
        raise ValueError("a consistency proof starts from 1 to all leaves")
    return _subproof(hashes, old_size, whole=True)


def included(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether `proof` shows the leaf at `index` in the tree of `size` leaves with root `expected` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or len(leaf_hash) != 32 or len(expected) != 32:
        return False
    place, last, result = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return False
        if place % 2 == 1 or place == last:
            result = node(sibling, result)
            while place % 2 == 0 and place != 0:
                place, last = place // 2, last // 2
        else:
            result = node(result, sibling)
        place, last = place // 2, last // 2
    return last == 0 and result == expected


def extends(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether `proof` shows that the newer tree only appended to the older (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if not proof:
        return False
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    place, last = old_size - 1, new_size - 1
    while place % 2 == 1:
        place, last = place // 2, last // 2
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place % 2 == 1 or place == last:
            old, new = node(sibling, old), node(sibling, new)
            while place % 2 == 0 and place != 0:
                place, last = place // 2, last // 2
        else:
            new = node(new, sibling)
        place, last = place // 2, last // 2
    return last == 0 and old == old_root and new == new_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    power: int = 1 << ((size - 1).bit_length() - 1)
    return power


def _subproof(hashes: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(hashes):
        return [] if whole else [root(hashes)]
    split = _split(len(hashes))
    if old_size <= split:
        return [*_subproof(hashes[:split], old_size, whole=whole), root(hashes[split:])]
    return [*_subproof(hashes[split:], old_size - split, whole=False), root(hashes[:split])]
