"""The gate's own rules by name: what each says, what can be done about it, and by whom.

Policies and budgets have names and sentences of their own; these are the rules that hold whatever they say.
"""

from __future__ import annotations

from dataclasses import dataclass

BROKEN = "policy-broken"
POLICY_NEXT = "Ask for something that fits the rule, or ask a manager whether the policy should change."
BUDGET_NEXT = "Wait until the limit has room again, ask for less, or ask a manager whether the limit should change."
_UNKNOWN = "Ask a manager or an admin."

_AGENT, _OPERATOR, _MANAGER, _ADMIN, _ENGINEER = "the agent's author", "an operator", "a manager", "an admin", "an engineer"
_ELSE = "somebody else"


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule in plain words. `who` can take the next step."""

    sentence: str
    next_step: str
    who: str


_IDENTITY = {
    "scope": RuleText(
        "An agent uses only what it was granted, and a token only what it was asked for.",
        "Ask for a token with this scope, or ask an admin to grant the agent more.",
        _ADMIN,
    ),
    "agent-disabled": RuleText("A disabled agent does nothing.", "Ask an admin whether the agent may be enabled again.", _ADMIN),
    "level-off": RuleText(
        "An action that is switched off for an agent is not proposed.",
        "Ask a manager to raise the level of this action, or leave it to a person.",
        _MANAGER,
    ),
    "kill-switch": RuleText(
        "Nothing starts while the kill switch is on.",
        "Wait until a manager releases the kill switch; review deadlines stand still meanwhile.",
        _MANAGER,
    ),
    "schema": RuleText(
        "Arguments fit the tool exactly; unknown fields are refused.",
        "Correct the arguments named in the reason and propose it again.",
        _AGENT,
    ),
    "agent-only": RuleText("Some calls are for agents alone.", "Use the agent's own token for this call.", _AGENT),
    "person-only": RuleText("Some calls are for people alone.", "Use a person's own API token for this call.", _OPERATOR),
    "own-proposals-only": RuleText(
        "An agent withdraws only what it proposed itself.", "Leave it to the agent that proposed it, or reject it as a person.", _OPERATOR
    ),
    "not-entitled": RuleText("Only those entitled to something may do it.", "Ask a manager or an admin who may.", _MANAGER),
    "role": RuleText("Each page and call needs a role.", "Ask somebody with the role it needs.", _MANAGER),
    "inactive-account": RuleText("A disabled account does nothing.", "Ask an admin whether the account may be enabled again.", _ADMIN),
    "manager-only": RuleText("Some things are a manager's or an admin's to do.", "Ask a manager or an admin.", _MANAGER),
    "admin-only": RuleText("Some things are an admin's to do.", "Ask an admin.", _ADMIN),
}
_POLICY = {
    "default-deny": RuleText(
        "What no policy permits is denied.",
        "Ask for something that a rule permits, or ask a manager whether a policy should permit this.",
        _MANAGER,
    ),
    BROKEN: RuleText(
        "Where the policies cannot be evaluated, nothing runs by itself.",
        "Have an engineer mend the policies; until then people decide what they still can, and reject the rest.",
        _ENGINEER,
    ),
    "two-people-by-default": RuleText(
        "Two people decide where no policy lets one person decide alone.", "Two entitled people approve it.", _OPERATOR
    ),
    "attended-by-default": RuleText(
        "A person decides where no policy lets an action run without one.", "A person decides it in the queue.", _OPERATOR
    ),
    "level-suggest": RuleText(
        "A person decides until a manager lets the action run alone.",
        "A person decides it in the queue; a manager may raise the level once the record allows it.",
        _OPERATOR,
    ),
    "suspicious-text": RuleText(
        "Text with hidden or look-alike characters is always looked at by a person.",
        "A person looks at the marked characters and decides.",
        _OPERATOR,
    ),
    "policy-approve": RuleText(
        "The policies say who may decide which action.", "Ask somebody whom the policy lets decide this, such as a manager.", _MANAGER
    ),
    "policy-manager": RuleText("Policies are changed by managers and admins.", "Ask a manager or an admin.", _MANAGER),
    "policy-replay": RuleText(
        "A version of the policies is published only after a fresh replay of exactly its text.",
        "Run the replay, look at what would have changed, then publish.",
        _MANAGER,
    ),
    "policy-tests": RuleText(
        "A version of the policies is published only when its own tests pass.",
        "Correct the policies or the tests in a new draft, then replay and publish that.",
        _MANAGER,
    ),
    "policy-second-person": RuleText(
        "A version of the policies is published by somebody else than its author.", "Ask another manager or admin to publish it.", _MANAGER
    ),
}
_TOOL = {
    "tool-missing": RuleText(
        "A tool that is no longer installed cannot be used.", "Ask an engineer whether the tool was removed on purpose.", _ENGINEER
    ),
    "tool-changed": RuleText(
        "An approval holds only for the tool as it was when people looked.", "Look at the proposal again and decide it anew.", _OPERATOR
    ),
    "tool-refused": RuleText(
        "The tool itself said no and did nothing.", "Read what the tool said, and ask for something it can do.", _AGENT
    ),
    "tool-suspended": RuleText(
        "A foreign tool whose definition changed is suspended until a person has looked.",
        "Ask an admin to look at the difference and accept it on the tools page.",
        _ADMIN,
    ),
    "write-needs-proposal": RuleText("What changes something is proposed, never called.", "Propose it instead of calling it.", _AGENT),
    "duplicate-intent": RuleText(
        "The same thing is done only once.", "Open the other proposal; withdraw it first if this one is better.", _OPERATOR
    ),
}
_WORLD = {
    "no-longer-possible": RuleText(
        "What the tool says is no longer possible is not tried.",
        "Look at it again; edit it to what is still possible, or reject it.",
        _OPERATOR,
    ),
    "target-moved": RuleText(
        "An approval holds only for the target as people saw it.", "Look at what it is now and decide it anew.", _OPERATOR
    ),
    "target-unreachable": RuleText(
        "Nothing runs on a target that cannot be looked at.", "Wait until the tool answers again, then decide it anew.", _OPERATOR
    ),
    "ticket-ended": RuleText(
        "Nothing is done on a ticket that was closed or solved meanwhile.",
        "Reopen the ticket if it still has to be done, or reject it.",
        _OPERATOR,
    ),
    "customer-wrote": RuleText(
        "What the customer wrote after the draft is read before anything runs.", "Read the new message and decide it anew.", _OPERATOR
    ),
    "policy-changed": RuleText("An approval holds only under the policies it was given under.", "Decide it anew.", _OPERATOR),
    "approval-too-old": RuleText("An approval holds for a limited time.", "Look at it again and decide it anew.", _OPERATOR),
    "approver-not-entitled": RuleText(
        "Only approvals by people who are entitled at this moment count.", "Somebody who is entitled now approves it.", _OPERATOR
    ),
    "no-longer-automatic": RuleText(
        "What may no longer run without a person waits for one.", "A person decides it in the queue.", _OPERATOR
    ),
    "key-expired": RuleText(
        "A call is repeated only while the tool promises that a repeat has no second effect.",
        "Find out with the tool whether it happened, and say so on the outcome desk.",
        _OPERATOR,
    ),
    "digest-mismatch": RuleText(
        "What runs is what was approved, to the last byte.",
        "Two people look at it on the outcome desk; tell whoever runs this installation.",
        _ADMIN,
    ),
}
_PEOPLE = {
    "requester-never-approves": RuleText("Whoever asked for something never approves it.", "Ask somebody else to decide it.", _ELSE),
    "owner-never-approves": RuleText(
        "The owner of an agent never approves what it drafted, and never lets it run alone.", "Ask somebody else to decide it.", _ELSE
    ),
    "already-approved": RuleText("One person's approval counts once.", "Wait for another person, or ask one.", _ELSE),
    "two-people": RuleText("Where two people are needed, they are different people.", "Ask a second person to approve it.", _ELSE),
    "other-than-editor": RuleText(
        "An edit that raises the amount or moves the target needs another person than the editor.",
        "Ask another person to approve it.",
        _ELSE,
    ),
    "scopes-second-person": RuleText(
        "An agent is given more than it may use today only when a second person confirms it.",
        "Ask another manager or admin to confirm it on the changes page.",
        _ELSE,
    ),
    "autonomy-second-person": RuleText(
        "An action is allowed to run alone only when a second person confirms it.",
        "Ask for it on the actions board, and another manager or admin to confirm it.",
        _ELSE,
    ),
    "change-second-person": RuleText(
        "Whoever asked for a change does not confirm it.", "Ask another manager or admin to confirm it.", _ELSE
    ),
    "change-manager": RuleText("Changes are asked for and confirmed by managers and admins.", "Ask a manager or an admin.", _MANAGER),
    "change-own-withdrawal": RuleText(
        "Only who asked for a change withdraws it.", "Refuse the change instead, with a note that says why.", _MANAGER
    ),
    "autonomy-manager": RuleText("How much runs alone is changed by managers and admins.", "Ask a manager or an admin.", _MANAGER),
    "autonomy-evidence": RuleText(
        "An action runs alone only when its record allows it.",
        "Let people decide more of these first; the actions board shows what is missing.",
        _MANAGER,
    ),
    "autonomy-level": RuleText("Only some levels can be chosen.", "Choose off, suggest or auto.", _MANAGER),
}
RULES: dict[str, RuleText] = _IDENTITY | _POLICY | _TOOL | _WORLD | _PEOPLE


def known(rule: str) -> bool:
    """Whether this is the name of a rule of the gate itself."""
    return rule in RULES


def next_step(rule: str) -> str:
    """What can be done about a refusal by this rule, in one sentence."""
    found = RULES.get(rule)
    return found.next_step if found is not None else _UNKNOWN
