"""The policies' versions: which one is in force, who wrote it, who published it, and the way back.

A version is the whole policy folder as text. The folder of the installation is adopted as a published version when
its content changed; a version from the page stands above it until the folder changes again. In force is always the
published version with the highest number, read in the caller's own transaction, so that a publication holds from the
next judgement on in every process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func, select

from copilot.audit import holders, log
from copilot.db import db, new_id, now
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound, Refused, SetupError
from copilot.gate import approvals, cases, folder, policy, switches, tools
from copilot.gate.policy import Policies
from copilot.models import PolicyVersion, User

REPLAY_LIFETIME = timedelta(hours=24)
EXTRA_FILES = (folder.BUDGETS, folder.CALENDAR, folder.TESTS)

_LONGEST_COMMENT = 2_000
_MANAGING = frozenset({"manager", "admin"})
_NEWEST = (
    select(PolicyVersion.id, PolicyVersion.hash).where(PolicyVersion.state == "published").order_by(PolicyVersion.number.desc()).limit(1)
)
_NOTHING = """@id("policy-broken")
@sentence("The policies in force can no longer be read, so nothing is allowed until an engineer has mended them.")
forbid (principal, action, resource);
"""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One version as this process has it in memory; `problem` says why it could not be read and everything is refused."""

    version_id: str
    registry: tools.Registry
    policies: Policies
    problem: str | None


_loaded: _Loaded | None = None

logger = logging.getLogger(__name__)


def in_force() -> Policies:
    """The policies in force in this transaction; one small select, and a load only when the version changed.

    A version that cannot be read any more, because a tool it speaks about is gone or its stored text was tampered
    with, refuses everything under the rule policy-broken.
    """
    found = _newest()
    return policy.current() if found is None else found.policies


def problem() -> str | None:
    """Why the version in force cannot be read, in a sentence for an engineer, or None."""
    found = _newest()
    return None if found is None else found.problem


def _newest() -> _Loaded | None:
    global _loaded
    row = db.session.execute(_NEWEST).first()
    if row is None:
        return None
    found = _loaded
    if found is None or found.version_id != row.id or found.registry is not tools.current():
        found = _load(row.id)
        policy.install(found.policies)
        _loaded = found
    return found


def _load(version_id: str) -> _Loaded:
    number, stored, files = db.session.execute(
        select(PolicyVersion.number, PolicyVersion.hash, PolicyVersion.files).where(PolicyVersion.id == version_id)
    ).one()
    registry = tools.current()
    try:
        policies = policy.from_files(files, tools=registry.all())
    except (BadInput, SetupError) as error:
        why = f"Version {number} of the policies cannot be read any more: {error}"
    else:
        if policies.hash == stored:
            return _Loaded(version_id, registry, policies, None)
        why = f"The stored text of version {number} of the policies is not what was published."
    nothing = replace(policy.from_files({"broken.cedar": _NOTHING}), hash=stored)
    return _Loaded(version_id, registry, nothing, why)


def adopt(policies: Policies) -> None:
    """Make the folder's content a published version when it differs from the newest that came from the folder.

    Called when an installation starts, inside a transaction. SetupError when the folder's own tests do not pass: then
    what is in force stays. A version published on the page stays in force as long as the folder stays as it was.
    """
    newest = select(PolicyVersion.hash).where(PolicyVersion.source == "files").order_by(PolicyVersion.number.desc()).limit(1)
    if db.session.scalar(newest) == policies.hash:
        return
    _tested(policies)
    _alone()
    if db.session.scalar(newest) == policies.hash:
        return
    at = now()
    version = PolicyVersion(
        id=new_id("polv"), number=_next_number(), hash=policies.hash, source="files", files=dict(policies.files), comment="",
        state="published", replay_state="", created_at=at, published_at=at,
    )  # fmt: skip
    db.session.add(version)
    log.append("policy.published", version.id, at=at, number=version.number, hash=version.hash, source="files", by=None)


def _tested(policies: Policies) -> None:
    """Run the folder's own tests of the tools that are installed here; SetupError names those that fail."""
    try:
        report = cases.run(policies, tools.current().all(), absent_too=False)
    except BadInput as error:
        raise SetupError(f"The policy folder is not taken over: {error}") from error
    failed = [f"“{each.name}” (expected {each.expected}, got {each.got})" for each in report.outcomes if not each.ok]
    if failed:
        raise SetupError(
            f"The policy folder is not taken over, because {len(failed)} of its own tests fail: {'; '.join(failed[:5])}. "
            "Correct the policies or tests.toml; `copilot policy check` runs them."
        )
    if report.skipped:
        logger.info("tests of the policy folder left out, because their tools are not installed: %s", "; ".join(report.skipped))


def draft(files: Mapping[str, str], *, by: User, comment: str) -> PolicyVersion:
    """Keep a draft of a whole new version; BadInput names the file and the mistake.

    Line ends and surrounding blanks are made one kind, because a browser sends them as it likes.
    """
    _managing(by)
    comment = _sentence(comment, field="comment")
    files = folder.tidy(files)
    policies = _read(files)
    cases.run(policies, tools.current().all())  # so that a mistake in the tests is named here; one that fails may be kept
    standing = current_version()
    if folder.tidy(policy.current().files if standing is None else standing.files) == files:
        raise BadInput("This is what is in force already; change something first.", problems={"": "nothing was changed"})
    _alone()
    version = PolicyVersion(
        id=new_id("polv"), number=_next_number(), hash=policies.hash, source="page", files=dict(policies.files), author_id=by.id,
        comment=comment, state="draft", replay_state="", created_at=now(),
    )  # fmt: skip
    db.session.add(version)
    db.session.flush()
    log.append("policy.drafted", version.id, at=version.created_at, number=version.number, hash=version.hash, by=by.id)
    return version


def publish(version_id: str, *, by: User, note: str = "") -> None:
    """Put a draft in force from the next judgement on.

    Refused with a rule: without a second person where one is needed, without a fresh replay of exactly this text, or
    when its own tests fail. Conflict when another version was published after it was drafted.
    """
    _managing(by)
    _alone()
    version = locked_draft(version_id)
    if version.author_id == by.id and switches.holds(approvals.POLICY_SECOND_PERSON):
        raise Refused("You wrote this version, so somebody else has to publish it.", rule=approvals.POLICY_SECOND_PERSON)
    at = now()
    missing = replay_missing(version, at=at)
    if missing is not None:
        raise Refused(missing, rule="policy-replay")
    latest = db.session.scalar(select(func.max(PolicyVersion.number)).where(PolicyVersion.state == "published")) or 0
    if latest > version.number:
        raise Conflict(f"Version {latest} was published after this one was drafted; draft it again from what is in force.")
    policies = _read(version.files)
    if policies.hash != version.hash:
        raise Conflict("The stored text of this version is not what was drafted; discard it and draft it again.")
    failed = [outcome.name for outcome in cases.run(policies, tools.current().all()).outcomes if not outcome.ok]
    if failed:
        raise Refused(f"Its own tests do not pass: {'; '.join(failed[:5])}.", rule="policy-tests")
    version.state, version.published_at, version.published_by = "published", at, by.id
    if note := note.strip()[:_LONGEST_COMMENT]:
        version.comment = f"{version.comment}\n\nOn publishing: {note}"
    log.append(
        "policy.published", version.id, at=at, number=version.number, hash=version.hash, source="page", author=version.author_id, by=by.id
    )


def roll_back(number: int, *, by: User, comment: str) -> PolicyVersion:
    """Draft a new version with an old one's text; it is replayed and published like any other.

    There is no shorter way back, because an old version may well be the laxer one. What must stop at once is stopped
    by the kill switch.
    """
    old = db.session.scalar(select(PolicyVersion).where(PolicyVersion.number == number, PolicyVersion.state == "published"))
    if old is None:
        raise NotFound(f"There is no published version {number}.")
    return draft(old.files, by=by, comment=f"Back to version {number}: {_sentence(comment, field='comment')}")


def discard(version_id: str, *, by: User) -> None:
    """Put a draft away; it stays readable."""
    _managing(by)
    version = locked_draft(version_id)
    version.state = "discarded"
    log.append("policy.discarded", version.id, number=version.number, hash=version.hash, by=by.id)


def replay_missing(version: PolicyVersion, *, at: datetime) -> str | None:
    """What a replay still lacks before this version may be published, in a sentence, or None."""
    if version.replay_state in ("asked", "running"):
        return "The replay over recorded verdicts has not ended yet; publish when it has."
    if version.replay_state == "failed":
        return "The replay over recorded verdicts failed; run it again and look at its result before publishing."
    if version.replay_state != "done" or version.replay is None or version.replayed_at is None:
        return "Replay this version over recorded verdicts first, and look at what it would have changed."
    if version.replay.get("hash") != version.hash:
        return "The replay was of another text; run it again for this one."
    if at - version.replayed_at > REPLAY_LIFETIME:
        return "The replay is older than a day; run it again before publishing."
    return None


def publishers(version: PolicyVersion) -> int:
    """How many people could publish this version if the second-person rule holds."""
    entitled = select(func.count()).select_from(User).where(User.active, User.role.in_(_MANAGING), User.id != version.author_id)
    return db.session.scalar(entitled) or 0


def get(version_id: str) -> PolicyVersion:
    """One version; NotFound when there is none."""
    version = db.session.get(PolicyVersion, version_id)
    if version is None:
        raise NotFound("There is no such version of the policies.")
    return version


def current_version() -> PolicyVersion | None:
    """The version in force, or None while only the folder's policies are loaded."""
    row = db.session.execute(_NEWEST).first()
    return None if row is None else get(row.id)


def before(version: PolicyVersion) -> PolicyVersion | None:
    """The published version that this one followed or would follow."""
    older = select(PolicyVersion).where(PolicyVersion.state == "published", PolicyVersion.number < version.number)
    return db.session.scalar(older.order_by(PolicyVersion.number.desc()).limit(1))


def listed(*, below: int | None = None, limit: int = 30) -> list[PolicyVersion]:
    """Versions, newest first."""
    query = select(PolicyVersion).order_by(PolicyVersion.number.desc()).limit(limit)
    return list(db.session.scalars(query if below is None else query.where(PolicyVersion.number < below)))


def locked_draft(version_id: str) -> PolicyVersion:
    """A draft as it stands now, which nobody else changes until this transaction ends; Conflict when it is a draft no more."""
    row = select(PolicyVersion).where(PolicyVersion.id == version_id).with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(row)
    if found is None:
        raise NotFound("There is no such version of the policies.")
    if found.state != "draft":
        raise Conflict(f"Version {found.number} is {found.state} already.")
    return found


def _next_number() -> int:
    return (db.session.scalar(select(func.max(PolicyVersion.number))) or 0) + 1


def _alone() -> None:
    """Keep other writers of versions waiting until this transaction ends."""
    if not holders.hold("policies", holders.me(), 0):
        raise Conflict("Somebody else is changing the policies at this moment; look again and repeat it.")


def _managing(by: User) -> None:
    if by.role not in _MANAGING or not by.active:
        raise NotEntitled("Only a manager or an admin changes the policies.", rule="policy-manager")


def _sentence(text: str, *, field: str) -> str:
    text = text.strip()
    if not text:
        raise BadInput("Say why; it stands beside the version.", problems={field: "write a sentence"})
    return text[:_LONGEST_COMMENT]


def _read(files: Mapping[str, str]) -> Policies:
    """Load the text as a process would; BadInput has a sentence for each file with a mistake."""
    try:
        return policy.from_files(files, tools=tools.current().all())
    except SetupError as error:
        raise BadInput(str(error), problems={"": str(error)}) from error
