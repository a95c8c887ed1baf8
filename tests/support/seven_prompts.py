"""One prompt of our own for each of the seven tasks, from about 10 to about 700 tokens."""

_REPORT = """The old ferry between Harrow Point and the island of Sele made its last crossing on a grey
Thursday in October. For sixty-one years the boat had carried schoolchildren, doctors, sheep, pianos and,
once, a complete wooden chapel in numbered pieces. Nobody on the island had asked for the bridge that
replaced it. The province had simply decided that a boat which stayed in harbour on forty days of every
winter was no longer good enough, and that the quarry on the north shore would pay for the concrete.
Maren Holt, who sold tickets on the ferry for twenty-two years, kept the brass bell. The company let her
choose between the bell and the compass, and she took the bell because she had rung it herself in fog. She
says that the sound carries better over water than any telephone. On her kitchen wall hangs a list of the
names of all nine captains, written by the third of them and continued by the wives of the others.
The engineers who built the bridge measured the wind for four years before they set the first pier. They
found that gusts in the narrow part of the strait reach forty-three metres per second, far more than the
weather station at the airfield had ever recorded. The deck was therefore given a shape like a wing turned
upside down, and barriers of perforated steel, which let a third of the wind pass and break the rest. On the
worst days, lorries still have to wait. A traffic light at each end decides by itself, from eleven
anemometers, and the islanders have already learnt to read the clouds above the quarry to guess its mood.
For the school, the change is enormous. Until last year, pupils over twelve lived in a boarding house on the
mainland from Monday to Friday. Now a yellow bus takes them home every afternoon in thirty-five minutes. The
head teacher reports that marks have risen slightly, that homework has become worse, and that the choir has
doubled in size because rehearsals no longer compete with the last boat. The boarding house will become a
hostel for bird watchers, who come in April and September, when geese rest on the salt meadows.
Not everybody is content. The shop on the quay lost half of its customers within three months, since the
large supermarket on the mainland is now only a short drive away. Its owner, Ture Lind, has started to bake
bread and to rent bicycles, and he hopes that visitors will replace neighbours. The fishermen complain that
the piers have changed the current, so that their nets drift on to the rocks below the lighthouse. The
province has promised a study. Two biologists have already found that mussels grow on the new concrete faster
than anywhere else along the coast, and a cooperative of six families wants to farm them there on ropes.
Meanwhile the ferry itself lies at a yard in the next fjord. A group of volunteers would like to restore the
steam whistle and run short trips in summer. They need money for the boiler, a certificate for forty
passengers, and a captain. Maren Holt has offered them the bell on one condition: that it is rung in fog."""

SEVEN_PROMPTS: dict[str, str] = {
    "conversation": "Plan a weekend by the sea for two friends who both dislike crowds.",
    "translation": "Translate into German: The train to the coast leaves at half past seven.",
    "summarization": f"Summarize the following report in three sentences.\n\n{_REPORT}",
    "qa": "Why does the moon look larger near the horizon?",
    "math_reasoning": (
        "A baker makes 18 loaves an hour. He starts at four in the morning, rests for half an hour at six, "
        "and stops at nine. A third of the loaves go to the school. How many loaves are left for the shop?"
    ),
    "rag": (
        "Use only the passage to answer.\n\nPassage: The common swift spends most of its life in the air. It "
        "eats, drinks and even sleeps on the wing, and lands only to breed. Ringed birds have been found to "
        "stay aloft for ten months without a pause.\n\nQuestion: When does a swift land?\nAnswer:"
    ),
    "code": (
        "def running_median(values: list[float], window: int) -> list[float]:\n"
        '    """Return the median of every window of consecutive values.\n\n'
        "    >>> running_median([1.0, 5.0, 2.0, 8.0], 3)\n    [2.0, 5.0]\n"
        '    """\n'
    ),
}
