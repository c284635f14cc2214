"""How the offline model reads: the ticket out of the prompt, what it is about, and what the tools have answered.

Everything is taken from the messages of one request, nothing is remembered. Marks such as [email-1] are words like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from copilot.demo.stock import COUNTRIES, PRODUCTS

Json = dict[str, Any]

_FENCED = re.compile(r'<untrusted-(\w+) what="([^"]*)"[^>]*>\n(.*?)\n</untrusted-\1>', re.DOTALL)
_HEADER = re.compile(r"^(Customer id|Customer name|Customer e-mail): (.+)$", re.MULTILINE)
_ORDER = re.compile(r"(?:\border(?:\s+(?:number|no\.?|id))?|#|\bnumber)[\s:#(]*(\d{4,6})\b", re.IGNORECASE)
_EMAIL = re.compile(r"\[email-\d+\]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_MONEY = re.compile(r"[€$£]\s?(\d[\d,]*)(?:\.(\d\d))?")
_COUNTRY = "|".join(COUNTRIES.values())
_ADDRESS = re.compile(rf"(\[address-\d+\]|\d+[a-z]? [^,\n:?!.]+), ([^,\n]+), ([^,\n]+), ({_COUNTRY})\b", re.IGNORECASE)
_CODES = {name.lower(): code for code, name in COUNTRIES.items()}
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Letter:
    """A ticket as the model sees it: who wrote, all they wrote, and what they wrote last."""

    customer_id: str
    name: str
    email: str
    subject: str
    messages: tuple[str, ...]

    @property
    def text(self) -> str:
        """Subject and messages; «thanks» and «any news?» after the first are left out, for they ask for nothing new."""
        return "\n".join((self.subject, *self.messages[:1], *(m for m in self.messages[1:] if intent_of(m) not in ("thanks", "nudge"))))

    @property
    def orders(self) -> tuple[str, ...]:
        """The order numbers mentioned, the first mentioned first."""
        return tuple(dict.fromkeys(_ORDER.findall(self.text)))

    @property
    def strangers(self) -> tuple[str, ...]:
        """E-mail addresses in the text other than the customer's own."""
        return tuple(found for found in dict.fromkeys(_EMAIL.findall(self.text)) if found.lower() != self.email.lower())

    @property
    def minor(self) -> int | None:
        """The first amount of money named, in minor units."""
        found = _MONEY.search(self.text)
        return None if found is None else int(found[1].replace(",", "")) * 100 + int(found[2] or 0)

    @property
    def address(self) -> Json | None:
        """The address named last, in the arguments of change_address."""
        found = list(_ADDRESS.finditer(self.text))
        if not found:
            return None
        last = found[-1]
        return {"line1": last[1].strip(), "city": last[2].strip(), "postal_code": last[3].strip(), "country": _CODES[last[4].lower()]}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One action proposed so far and how it ended. `fresh` if the customer has not written since."""

    tool: str
    arguments: Json
    outcome: str
    code: str
    note: str
    fresh: bool


@dataclass(slots=True)
class Facts:
    """What the tools have answered so far. `asked` holds every read made, answered or not."""

    asked: set[str] = field(default_factory=set)
    customer: Json | None = None
    orders: dict[str, Json] = field(default_factory=dict)
    payments: dict[str, Json] = field(default_factory=dict)
    shipments: dict[str, Json] = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    help: list[Json] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)


def letter(messages: Iterable[Mapping[str, Any]]) -> Letter:
    """The ticket, from the user messages. Without fences a message is all ticket, its first line the subject."""
    about: dict[str, str] = {}
    subject, said = "", []
    for message in messages:
        if message.get("role") != "user":
            continue
        text = _text(message.get("content"))
        parts = _FENCED.findall(text)
        outside = _FENCED.sub("", text) if parts else text
        for label, value in _HEADER.findall(outside):
            about.setdefault(label, value.strip())
        for _, what, body in parts:
            if what == "subject":
                subject = subject or body
            elif what == "message from customer":
                said.append(body)
        if not parts:
            said.append(_HEADER.sub("", text).strip())
    name = about.get("Customer name", "")
    return Letter(about.get("Customer id", ""), name, about.get("Customer e-mail", ""), subject, tuple(said))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def facts(messages: Iterable[Mapping[str, Any]]) -> Facts:
    """What was read and what was proposed so far, in the order it happened."""
    known, calls = Facts(), {}
    for message in messages:
        if message.get("role") == "user":
            known.attempts = [Attempt(a.tool, a.arguments, a.outcome, a.code, a.note, False) for a in known.attempts]
        for call in message.get("tool_calls") or ():
            function = call["function"]
            calls[call["id"]] = (function["name"], _parsed(function["arguments"]))
            known.asked.add(asked(function["name"], calls[call["id"]][1]))
        if message.get("role") == "tool" and message.get("tool_call_id") in calls:
            name, arguments = calls[message["tool_call_id"]]
            _learn(known, name, arguments if isinstance(arguments, dict) else {}, _parsed(_text(message.get("content"))))
    return known


def asked(tool: str, arguments: Any) -> str:
    """One read, in a form that two equal ones share."""
    return f"{tool} {json.dumps(arguments, sort_keys=True)}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"error": text}


def _learn(known: Facts, tool: str, arguments: Json, answer: Any) -> None:
    if isinstance(answer, list):
        if tool == "list_orders":
            known.history = [row for row in answer if isinstance(row, dict)]
        elif tool == "search_help":
            known.help = [row for row in answer if isinstance(row, dict)]
        return
    if not isinstance(answer, dict):
        return
    if "outcome" in answer:
        reason, done = _object(answer.get("reason")), _object(answer.get("arguments")) or arguments
        attempt = Attempt(tool, done, str(answer["outcome"]), str(reason.get("code") or ""), str(reason.get("note") or ""), True)
        known.attempts.append(attempt)
    elif "error" in answer:
        if tool not in _READS:
            known.attempts.append(Attempt(tool, arguments, "error", "", str(answer["error"])[:200], True))
    elif tool == "find_customer":
        known.customer = answer
    elif tool in _READS:
        by_order = {"get_order": known.orders, "get_payment": known.payments, "get_shipment": known.shipments}
        by_order.get(tool, {})[str(arguments.get("order_id"))] = answer


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


_READS = frozenset({"find_customer", "get_order", "list_orders", "get_shipment", "get_payment", "search_help"})


def item_in(text: str, items: Iterable[Json]) -> Json | None:
    """The one item of an order that a text names; None when it names none or several."""
    named = [item for item in items if str(item.get("name", "")).lower() in text.lower()]
    return named[0] if len(named) == 1 else None


def product_named(text: str) -> bool:
    """Whether a text names something the shop sells."""
    return any(product.name in text.lower() for product in PRODUCTS)


_INJECTION = re.compile(
    r"(ignore|disregard|forget)\b.{0,30}\b(instructions|rules)|^\s*system\s*:|developer mode|you are now|as the ai|policy override"
    r"|\[approved by|no confirmation needed|new instructions|<script|<!--|</untrusted",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_NOT_WANTED = re.compile(r"\b(do not|don['’]t|no|not)\s+(want|need|looking for)\b[^.,;:!?]*", re.IGNORECASE)
_TORN = re.compile(r"not sure|whichever|what are my options|what would you do|don't really know", re.IGNORECASE)
_INTENTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "question",
            r"how long (do|are|does|can)|do (you|u) ship|can i pay|\bvat\b|\binvoice\b|dishwasher|\bwarranty\b|how many (days|years)",
        ),
        ("refund_status", r"(my|has|the) refund\b.*\b(yet|processed|arrived|missing)|refunded part|refund still"),
        ("gift_card", r"gift ?cards?|voucher"),
        ("address", r"\baddress\b|deliver\b.*\binstead\b"),
        ("cancel", r"\bcancel|stop (the |my )?order|call off"),
        (
            "replace",
            r"\breplac|\bresend|send (it|me|the|another|teh)\b.*\b(again|new|another)|send (a )?(new|another)|new one\b|\bexchange",
        ),
        ("refund", r"\brefund|money back|reimburse|pay me back"),
        ("where", r"where\b.*\border|where is it|when will|tracking|no sign of|arrive\?"),
        ("praise", r"\blovely\b|well done|exactly what i hoped|thank you for the quick"),
        ("damage", r"broken|damaged|does not work|doesn't work|crack|wrong with"),
    )
)
_SMALL_TALK = (
    ("nudge", re.compile(r"any news|just checking in|still waiting|is anybody reading", re.IGNORECASE)),
    ("thanks", re.compile(r"\b(thanks|thank you|brilliant|great)\b", re.IGNORECASE)),
)


def intent_of(text: str) -> str:
    """What a text asks for, in one word; «unclear» when it says too little or two things at once."""
    if len(text) < 80 and not _ORDER.search(text):
        for name, pattern in _SMALL_TALK:
            if pattern.search(text):
                return name
    if _INJECTION.search(text) or _HIDDEN.search(text):
        return "hostile"
    wanted = _NOT_WANTED.sub(" ", text)
    if _TORN.search(text):
        return "torn"
    return next((name for name, pattern in _INTENTS if pattern.search(wanted)), "unclear")


def refund_reason(text: str, *, status: str) -> str:
    """Why money is asked back, as the argument of issue_refund."""
    if status == "lost":
        return "not_received"
    for reason, pattern in (
        ("late", r"shipping|delivery (fee|cost)"),
        ("wrong_item", r"\bwrong\b|different|instead of"),
        ("damaged", r"broken|crack|dent|piece|scratch|stopped working|damaged|does not work|leaks|chip"),
    ):
        if re.search(pattern, text, re.IGNORECASE):
            return reason
    return "goodwill"
