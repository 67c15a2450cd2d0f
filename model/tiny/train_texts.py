"""What the training voices say: sentences written for this purpose, and templates filled at random.

The one non-obvious decision: the word lists are chosen for their sounds (every English phoneme, clusters, numbers,
names), because a codebook only learns the sounds it hears. No text here is taken from a data set, and none of the
questions or replies of the shipped spoken set is among them.
"""

import re

import numpy as np

_WORDS = {
    "thing": "bread garden window engine teacher bicycle shadow kitchen orange puzzle village thunder blanket whistle "
    "jacket mirror pencil coffee camera soup bridge yacht zoo treasure church judge fish voice toy house cow bear "
    "chair tour leisure measure vision thumb feather cloth ship sheep book goose hammer oyster island ring song "
    "strength twelfth glimpse squirrel vase buzzer youth onion cushion azure genre lawyer royal fire hour",
    "name": "Anna George Sophie Michael Julia Thomas Carlos Fatima Yuki Oliver Hannah Victor Zoe Peter Charlotte Hugh "
    "Beatrice Joy Theo Ingrid Walter Xavier Naomi Keith Rachel Owen",
    "place": "Paris Madrid Denver Seattle Vancouver Sydney Berlin Cairo Dublin Lisbon Oslo Houston Geneva Tokyo "
    "Nairobi Peru Iceland Thailand Jamaica Chicago Leipzig Warsaw Boston Mumbai",
    "number": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "kind": "bright heavy quiet yellow strange fresh enormous smooth cheap thick loud purple gentle sharp lovely "
    "fragile cold warm usual joyful narrow shy rough hollow cosy brown blue early worthy orange vague young",
    "does": "carries measures watches pushes catches throws bathes shows joins rubs judges hears pulls feeds "
    "wishes lends drinks squeezes follows borrows",
}
_LISTS = {key: words.split() for key, words in _WORDS.items()}

_TEMPLATES = """
Sure, I can help you with that {thing} right away.
The {kind} {thing} belongs to {name}, who moved to {place} last year.
I think {name} will arrive on {day}, probably around {number} in the morning.
Did you know that {place} has more than {number} {kind} museums?
{number} plus {number} is easy, but {number} times {number} is harder.
Well, the {thing} was {kind}, and the {thing} was even more {kind}.
Let me check. The {thing} costs {number} dollars and {number} cents.
I am sorry, there is no {thing} available on {day}, the {number} of {month}.
Could you bring the {kind} {thing} to {name} before {day}?
Why does the {thing} look so {kind}? I thought it would be {kind}.
In {month}, we usually travel from {place} to {place} by train.
Okay, I will remind you about the {thing} in {number} minutes.
{name} said that the {thing}, the {thing} and the {thing} are all {kind}.
You are welcome! Have a {kind} {day}, {name}.
My favorite thing about {place} is the {kind} {thing} near the river.
The phone number is {number}, {number}, {number}, {number}, {number}.
Honestly, I would choose the {kind} {thing} rather than the {kind} {thing}.
First, open the {thing}. Then push the {kind} button and wait {number} seconds.
{name} {does} a {thing} while {name} {does} the {kind} {thing}.
What is the capital of {place}, and how far is it from {place}?
It is {place}.
That would be {number}.
I believe it was {name}.
How many {kind} things fit into a {thing}?
Who {does} the {thing} in {place} every {day}?
Hmm, {number} or {number}? I would say {number}.
Please tell {name} that the {thing} opens at half past {number}.
""".strip().splitlines()

_WRITTEN = """
The judge measured the usual pleasure of a garage full of beige treasure.
Six thick thistle sticks and three thousand feathers were thrown through the other window.
A young cow yawned while the noisy boys enjoyed their toys.
Hello there! How are you feeling today? I hope everything is going well.
Good morning, how can I help you? Just tell me what you need.
Plants use sunlight, water and air to make sugar, and we breathe what they give back.
The heart pumps about five liters of blood through the body every minute.
Light travels faster than sound, which is why we see a flash before we hear the thunder.
Computers store what they know as long rows of zeros and ones.
A healthy breakfast might include eggs, fruit, yogurt and whole grain toast.
Hmm, that is a good question. Let me think about it for a moment.
Oh, I see what you mean. You would rather leave earlier, right?
Of course. Which would you like to hear first, the good news or the bad news?
Birds fly south in autumn because food becomes scarce in the cold months.
I'm afraid I don't have that information, but I could look for something similar.
Try to sleep eight hours each night, drink enough water, and walk for half an hour.
Yes.
No, not really.
Mm-hm, go on.
I don't know, sorry.
Right, and what happened after that?
Okay, got it. One moment, please.
Sorry, could you say that again?
Wait, I was not finished yet. What I meant was the other one.
Sure, take your time.
Exactly! That is what I was looking for.
The weather will be cloudy with some rain in the afternoon, clearing up by evening.
You might want to take an umbrella, a warm coat, and a pair of good shoes.
Sixty four divided by eight is eight, and the square root of nine is three.
The oldest of the three brothers became a sailor, the youngest a baker.
Whales are not fish; they breathe air and feed their young with milk.
Turn left at the church, cross the bridge, and you will see the station on your right.
The recipe calls for two cups of flour, a pinch of salt, and half a stick of butter.
She sells fresh fish and shellfish at the shop by the shore.
He had his hat hung high in the huge hollow hall.
Could the vague rumor of a mirage have been a hoax?
My thumb is numb, but the rest of my hand feels fine.
Which witch watched which watch? Nobody ever told us.
The ring of the king's long song went on and on.
Put the blue book by the wooden box, would you?
Our hour is over, so the tower's power will go lower.
Boil the oil, avoid the noise, and enjoy the choice.
There were rare bears here, and we cheered from our chairs.
Bob and Pete tapped a deep beat on the big cupboard.
Kate took a quick look at the thick black cake.
Jack's giant pigeon charged the orange carriage.
They loathe the other weather, though this month is worth both.
Zebras graze as lazy breezes rise.
Vivian drove five heavy vans over the river valley.
My mother may come home from Rome some time in May.
Nine new nurses knew no one in the noon train.
Really loyal rulers rarely lie to their rivals.
We were away a week while the wind whirled.
A few humans use music to soothe the mood.
Do you want me to repeat it more slowly?
Let's see. The next bus leaves in about a quarter of an hour.
The museum is closed on Mondays, but the park is open all day.
That reminds me of a story my grandmother used to tell.
Honey never spoils if the jar stays closed.
A spider has eight legs, an ant has six, and a snail has only one foot.
""".strip().splitlines()


def sentences(n: int, rng: np.random.Generator) -> list[str]:
    """`n` different texts; every other one is a filled template once the written ones are mixed in."""
    written = [str(text) for text in rng.permutation(np.array(_WRITTEN))]
    chosen: list[str] = []
    while len(chosen) < n:
        text = written.pop() if written and len(chosen) % 2 == 0 else _filled(rng)
        if text not in chosen:
            chosen.append(text)
    return chosen


def _filled(rng: np.random.Generator) -> str:
    template = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
    text = re.sub(r"\{(\w+)\}", lambda slot: str(rng.choice(np.array(_LISTS[slot[1]]))), template)
    return text[0].upper() + text[1:]
