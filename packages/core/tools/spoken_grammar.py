"""The sentences of the embedded data set: a small seeded grammar of things said to a machine."""

import random
import re

START = "sentence"

# Alternatives are divided by "|", slots are in braces. What is written is what is spoken, word by
# word, so that a transcript needs no normalisation.
RULES = {
    START: "{command}|{command}|{alarm}|{alarm}|{date}|{date}|{code}|{count}",
    "command": (
        "turn {switch} the {device}|turn {switch} the {device} in the {room}"
        "|please turn {switch} the {device} in the {room}"
        "|set the {level} to {upto99} percent|set the {level} in the {room} to {upto99} percent"
        "|{shutter} the {opening} in the {room}|please {shutter} the {opening}"
        "|{play} the music in the {room}|play song number {upto99}|go to page {upto99}"
        "|make the {room} {warmth}|start the {device} at {time}|stop the {device} at {time}"
    ),
    "switch": "on|off",
    "device": "light|lamp|heating|radio|television",
    "room": "kitchen|bedroom|bathroom|garage|office",
    "level": "volume|light|heating",
    "shutter": "open|shut|lock",
    "opening": "window|door|gate",
    "play": "play|stop",
    "warmth": "warmer|colder",
    "alarm": (
        "wake me at {time}|wake me {when} at {time}|set an alarm for {time}"
        "|set a timer for {few} minutes|set a timer for {small} hours and {few} minutes"
        "|the meeting starts at {time}|the meeting is {when} at {time}"
        "|it is {time}|it is now {time}|cancel the alarm at {time}|move the meeting to {time}"
    ),
    "time": (
        "{hour} {minutes}|{hour} {minutes}|{hour} {minutes}|half past {hour}"
        "|quarter {side} {hour}|{fives} {side} {hour}|{hour} in the {daytime}"
    ),
    "hour": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
    "minutes": "{teen}|{decade}|{decade} {unit}",
    "decade": "twenty|thirty|forty|fifty",
    "side": "past|to",
    "fives": "five|ten|twenty|twenty five",
    "daytime": "morning|afternoon|evening",
    "when": "today|tonight|tomorrow|on {weekday}|on {weekday} {daytime}",
    "weekday": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "date": (
        "{weekday} the {ordinal} of {month}|today is {weekday} the {ordinal} of {month}"
        "|the {ordinal} of {month} {year}|the meeting is on the {ordinal} of {month}"
        "|the {ordinal} of {month} is a {weekday}|what day is the {ordinal} of {month}"
    ),
    "ordinal": (
        "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
        "|twentieth|twenty {low ordinal}|twenty {low ordinal}|thirtieth|thirty first"
    ),
    "low ordinal": "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth",
    "month": (
        "january|february|march|april|may|june|july|august|september|october|november|december"
    ),
    "year": "nineteen {decade} {unit}|nineteen {tens} {unit}|twenty {teen}|two thousand {unit}",
    "code": (
        "my number is {digits}|the number is {digits} {digit}|call {digits} {digit}"
        "|the code is {digits}|the code for the {opening} is {digits}|{digits} {digits}"
    ),
    "digits": "{digit} {digit} {digit}|{digit} {digit} {digit} {digit}",
    "digit": "zero|one|two|three|four|five|six|seven|eight|nine",
    "count": (
        "{hundreds}|{unit} thousand {hundreds}|{upto99} plus {upto99} is {hundreds}"
        "|how much is {upto99} times {upto99}|{upto99} point {unit} percent"
        "|count from {upto99} to {hundreds}|the answer is {hundreds}"
    ),
    "hundreds": "{unit} hundred|{unit} hundred {upto99}",
    "upto99": "{unit}|{teen}|{tens}|{tens} {unit}|{tens} {unit}",
    "few": "{small}|{teen}|{decade}|{decade} {unit}",
    "small": "two|three|four|five|six|seven|eight|nine|ten|twelve",
    "unit": "one|two|three|four|five|six|seven|eight|nine",
    "teen": ("ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"),
    "tens": "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety",
}
CHOICES = {name: tuple(rule.split("|")) for name, rule in RULES.items()}
MIN_WORDS = 3
MAX_WORDS = 9


def expand(rule: str, draw: random.Random) -> str:
    """Return one random expansion of a rule of the grammar."""
    chosen = draw.choice(CHOICES[rule])
    return re.sub(r"\{([^}]*)\}", lambda slot: expand(slot[1], draw), chosen)


def sentences(number: int, seed: int) -> list[str]:
    """Return different sentences of 3 to 9 words, in the order in which they were drawn."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < number:
        sentence = expand(START, draw)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
            found[sentence] = None
    return list(found)
