"""The voices of the embedded data set, and which of them are kept for development and test.

The rule was written down before anything was trained and is never adjusted to a result: families
of voices (near copies of each other) are shuffled with a fixed seed, whole families go to the test
split until it is full, then to the development split, and the rest is for training. No two splits
share a voice variant.
"""

import random
from dataclasses import dataclass

ACCENTS = ("en-us", "en", "en-gb-x-rp")
# Variants that whisper, croak, echo like a robot or shift formants far out of the human range are
# left out: announcer anikaRobot caleb croak Demonic fast kaukovalta RicishayMax* robosoft* travis
# UniRobot whisper* zac; so is "Mr serious", which the library cannot find by name.
FAMILIES = (
    ("Alex",),
    ("Alicia", "Annie"),
    ("Andrea",),
    ("Andy", "AnxiousAndy"),
    ("Denis", "victor"),
    ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
    ("Gene", "Gene2"),
    ("Jacky",),
    ("Lee",),
    ("Marco",),
    ("Mario", "Michael", "gustave", "marcelo"),
    ("Mike", "mike2"),
    ("Nguyen", "m7", "m8"),
    ("Reed",),
    ("Storm",),
    ("Tweaky",),
    ("adam", "benjamin"),
    ("anika",),
    ("antonio",),
    ("aunty", "belinda", "linda"),
    ("boris",),
    ("david",),
    ("ed",),
    ("edward", "edward2"),
    ("f1",),
    ("f2",),
    ("f3",),
    ("f4",),
    ("f5",),
    ("grandma",),
    ("grandpa",),
    ("ian",),
    ("iven", "iven2", "iven3", "iven4"),
    ("john",),
    ("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6"),
    ("m1",),
    ("m2",),
    ("m3",),
    ("m4",),
    ("m5",),
    ("m6",),
    ("max",),
    ("norbert",),
    ("pablo",),
    ("paul",),
    ("pedro",),
    ("quincy",),
    ("rob", "robert"),
    ("sandro",),
    ("shelby",),
    ("steph", "steph2", "steph3"),
)
# These variants change the rate that they are asked for; the factor brings them back to a normal
# one, measured as seconds per letter of the rendered speech.
PACE = {"anika": 0.8, "Andrea": 0.83, "antonio": 0.86, "steph": 0.9, "Marco": 1.2}
VOICES = {"test": 12, "dev": 8, "train": 66}
MAX_HELD_OUT_FAMILY = 3
"""So that no family makes up more than a quarter of the test split."""


@dataclass(frozen=True)
class Voice:
    """A speaker of the data set: an accent, a variant and how that speaker talks."""

    accent: str
    variant: str
    rate: int
    """Speaking rate in words per minute."""
    pitch: int
    """Base pitch, 0 to 99."""
    pitch_range: int
    """Liveliness of the melody, 0 to 99."""

    @property
    def name(self) -> str:
        """Name of the voice, as the synthesiser takes it and the index gives it."""
        return f"{self.accent}+{self.variant}"


def voices(seed: int) -> dict[str, list[Voice]]:
    """Return the voices of every split."""
    draw = random.Random(seed)
    families = list(FAMILIES)
    draw.shuffle(families)
    variants: dict[str, list[str]] = {split: [] for split in VOICES}
    for family in families:
        variants[_split_for(family, variants)] += family
    # There are fewer variants than training voices: some speak with a second accent.
    train = variants["train"]
    train += train[: VOICES["train"] - len(train)]
    return {split: _speakers(names, draw) for split, names in variants.items()}


def _split_for(family: tuple[str, ...], variants: dict[str, list[str]]) -> str:
    """Return the first split that has room for a whole family."""
    for split in ("test", "dev"):
        room = VOICES[split] - len(variants[split])
        if len(family) <= min(room, MAX_HELD_OUT_FAMILY):
            return split
    return "train"


def _speakers(variants: list[str], draw: random.Random) -> list[Voice]:
    """Give every variant an accent in turn, another when it comes again, and a way of speaking."""
    return [
        Voice(
            accent=ACCENTS[(number + variants[:number].count(variant)) % len(ACCENTS)],
            variant=variant,
            rate=round(draw.randint(138, 170) * PACE.get(variant, 1.0)),
            pitch=draw.randint(35, 65),
            pitch_range=draw.randint(35, 65),
        )
        for number, variant in enumerate(variants)
    ]
