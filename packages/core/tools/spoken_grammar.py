"""The sentences of the embedded data set: a small seeded grammar of things said to a machine."""

import random
import re

START = "sentence"

# Alternatives are divided by "|", slots are in braces. What is written is what is spoken, word by
# word, so that a transcript needs no normalisation.
RULES = {
    START: "{command}|{command}|{alarm}|{date}|{price}|{phone}|{weather}|{travel}|{count}",
    "command": (
        "turn {switch} the {device}|turn {switch} the {device} in the {room}"
        "|please turn {switch} the {device} in the {room}"
        "|set the {level} to {upto99} percent|set the {level} in the {room} to {upto99} percent"
        "|{shutter} the {opening} in the {room}|please {shutter} the {opening}"
        "|{play} the {media}|{play} the {media} in the {room}"
        "|add {small} {goods} to the list|take the {goods} off the list"
        "|call the {callee}|call the {callee} {when}|send a message to the {callee}"
        "|show me page {upto99}|go to page {upto99}"
        "|make the {room} {warmth}|start the {device} at {time}"
    ),
    "switch": "on|off",
    "device": "light|lamp|heating|radio|television|coffee machine",
    "room": "kitchen|bedroom|living room|bathroom|garage|office|hall|garden",
    "level": "volume|light|heating",
    "shutter": "open|shut|lock",
    "opening": "window|door|gate",
    "play": "play|stop|pause",
    "media": "music|news|next song|last song",
    "goods": "apples|eggs|lemons",
    "callee": "office|station|hotel|school|airport",
    "warmth": "warmer|colder",
    "alarm": (
        "wake me at {time}|wake me {when} at {time}|set an alarm for {time}"
        "|set a timer for {few} minutes|set a timer for {small} hours and {few} minutes"
        "|remind me {when} at {time}|the meeting starts at {time}|the meeting is {when} at {time}"
        "|it is {time}|it is now {time}|dinner is at {time}|the shop shuts at {time} on {weekday}"
        "|cancel the alarm at {time}|move the meeting to {time}"
    ),
    "time": (
        "{hour}|{hour} {minutes}|{hour} {minutes}|{hour} {minutes}|half past {hour}"
        "|quarter {side} {hour}|{fives} {side} {hour}|{hour} in the {daytime}|noon|midnight"
    ),
    "hour": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
    "minutes": "oh {unit}|{teen}|{decade}|{decade} {unit}",
    "decade": "twenty|thirty|forty|fifty",
    "side": "past|to",
    "fives": "five|ten|twenty|twenty five",
    "daytime": "morning|afternoon|evening",
    "when": "today|tonight|tomorrow|tomorrow {daytime}|on {weekday}|on {weekday} {daytime}",
    "weekday": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "date": (
        "{weekday} the {ordinal} of {month}|today is {weekday} the {ordinal} of {month}"
        "|the {ordinal} of {month} {year}|the holiday starts on the {ordinal} of {month}"
        "|the {ordinal} of {month} is a {weekday}|my birthday is on the {ordinal} of {month}"
        "|book a room for the {ordinal} of {month}|book a table for {small} on {weekday}"
        "|what day is the {ordinal} of {month}|it was built in {year}"
    ),
    "ordinal": (
        "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
        "|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth"
        "|twenty {low ordinal}|thirtieth|thirty first"
    ),
    "low ordinal": "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth",
    "month": (
        "january|february|march|april|may|june|july|august|september|october|november|december"
    ),
    "year": "nineteen {decade} {unit}|nineteen {upto99}|twenty {teen}|two thousand {unit}",
    "price": (
        "it costs {money}|the {priced} costs {money}|that will be {money}|{money} please"
        "|the price of the {priced} is {money}|i paid {money} for the {priced}"
        "|send {money} to the {callee}|the {priced} is {many} {currency} cheaper"
    ),
    "money": (
        "{many} {currency}|{many} {currency} and {many} cents|{hundreds} {currency}"
        "|{small} {currency} {upto99}"
    ),
    "currency": "dollars|euros|pounds",
    "priced": "ticket|room|book|lamp|coffee|table|television",
    "phone": (
        "my number is {digits}|the number is {digits} {digit}|dial {digits}|call {digits} {digit}"
        "|the code is {digits}|the code for the {opening} is {digits}|{digits} {digits}"
        "|please call me on {digits}"
    ),
    "digits": "{digit} {digit} {digit}|{digit} {digit} {digit} {digit}",
    "digit": "zero|one|two|three|four|five|six|seven|eight|nine",
    "weather": (
        "{sky} in the {region} {when}|it will be {sky} in the {region}|will it rain {when}"
        "|the temperature is {upto30} degrees|it is minus {upto30} degrees in {city}"
        "|{upto30} degrees and {sky} in {city}|there will be {fall} in {city} {when}"
        "|the {region} gets {upto99} percent of the {fall}|expect {fall} in the {region} {when}"
        "|how is the weather in {city} {when}|strong wind from the {region} {when}"
    ),
    "sky": "sunny|cloudy|dry|windy|cold|warm",
    "region": "north|south|east|west",
    "fall": "rain|snow|fog|storms",
    "upto30": "{small}|{teen}|twenty {unit}|twenty|thirty",
    "city": "london|paris|berlin|rome|boston|chicago|madrid|dublin",
    "travel": (
        "the {ride} to {city} leaves at {time}|the {ride} from {city} arrives at {time}"
        "|the {ride} to {city} is {few} minutes late|{ride} number {upto99} to {city}"
        "|platform {upto30} for the {ride} to {city}|turn {turn} after {hundreds} meters"
        "|take the {ordinal} street on the {turn}|{small} tickets to {city} please"
        "|when is the next {ride} to {city}|drive {turn} at the {landmark}"
        "|it is {many} miles from {city} to {city}|the {ride} stops at the {landmark}"
        "|a ticket from {city} to {city} costs {many} {currency}"
    ),
    "ride": "train|bus|flight|boat",
    "turn": "left|right",
    "landmark": "station|school|airport|hotel",
    "count": (
        "{hundreds}|{unit} thousand {hundreds}|{upto99} plus {upto99} is {hundreds}"
        "|how much is {upto99} times {upto99}|there are {hundreds} books on the table"
        "|{upto99} point {unit} percent|count from {upto99} to {hundreds}"
        "|the answer is {hundreds}|room {hundreds} is on the {ordinal} floor"
    ),
    "hundreds": "{unit} hundred|{unit} hundred {upto99}",
    "upto99": "{unit}|{teen}|{tens}|{tens} {unit}|{tens} {unit}",
    "few": "{small}|{teen}|{decade}|{decade} {unit}",
    "many": "{small}|{teen}|{tens}|{tens} {unit}",
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
