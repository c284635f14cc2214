"""The words of the sample tickets: openings, moods, fillers, closings, and how people of different patience type."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

OPENINGS = (
    "",
    "Hi,",
    "Hello,",
    "Hi there,",
    "Good morning,",
    "Good evening,",
    "Dear support team,",
    "Hey,",
    "To whom it may concern,",
    "Hello again,",
)

MOODS = (
    "",
    "",
    "",
    "I hope you are having a good week.",
    "I have been a customer for years and this has never happened before.",
    "I am rather disappointed, to be honest.",
    "This is really frustrating.",
    "No drama, just letting you know.",
    "I am writing about a recent purchase.",
    "I tried your chat first, but it hung up on me.",
    "It was meant as a birthday present, so you can imagine how I felt.",
    "Sorry to bother you on a busy day.",
    "This is the second time I write, and nobody has answered.",
    "I was so looking forward to it.",
)

FILLERS = (
    "",
    "",
    "",
    "",
    "I can send photos if that helps.",
    "I do like your shop otherwise.",
    "I am away from Thursday, so sooner would be better.",
    "You can also ring me in the evenings.",
    "I am not in a hurry.",
)

PARCEL_FILLERS = (
    "The box itself looked fine, by the way.",
    "My neighbour saw it too.",
    "I have kept all the packaging.",
)

CLOSINGS = (
    "",
    "",
    "Thanks,\n{first}",
    "Many thanks\n{first}",
    "Best regards,\n{name}",
    "Kind regards\n{name}",
    "Please sort this out.\n{first}",
    "Looking forward to your answer.\n{name}",
    "Cheers, {first}",
    "Yours sincerely,\n{name}",
    "I expect an answer today.\n{name}",
    "- {first}",
    "Thank you in advance, {first}",
    "Sent from my phone",
)

NUDGES = (
    "Any news on this?",
    "Hello? Is anybody reading this?",
    "Just checking in, have you had time to look at it?",
    "Still waiting for an answer.",
)
THANKS = (
    "Thanks a lot for looking into it!",
    "Great, thank you.",
    "Brilliant, that was quick. Thanks!",
)

_TYPOS = {
    "received": "recieved",
    "because": "becuase",
    "please": "pls",
    "definitely": "definately",
    "you": "u",
    "with": "wiht",
    "the": "teh",
    "and": "adn",
    "really": "realy",
}


def _hasty(text: str, rng: random.Random) -> str:
    """Some words misspelt; never a number, a name of goods or the word that says what is wanted."""
    return re.sub(r"[A-Za-z]+", lambda word: _TYPOS.get(word[0], word[0]) if rng.random() < 0.5 else word[0], text)


STYLES: tuple[Callable[[str, random.Random], str], ...] = (
    lambda text, _: text,
    lambda text, _: text,
    lambda text, _: text,
    lambda text, _: text.lower(),
    lambda text, _: text.upper(),
    _hasty,
    lambda text, _: text.replace(". ", "... ").replace("!", "!!!"),
)
