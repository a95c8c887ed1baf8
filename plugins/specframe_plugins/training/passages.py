"""Beginnings of longer passages, and what is asked about a passage once it stands.

Summaries, translations and answers from a text happen after a long context. The target writes that context
itself, inside its user turn, and then works on it. Openings name the kind of text; tasks are written out,
since a small target seldom asks for one on its own.
"""

from __future__ import annotations

NEWS = (
    "The police said on",
    "A court in",
    "The government has announced that",
    "Scientists at the University of",
    "(Reuters) -",
    "Residents of a small town in",
    "The prime minister",
    "A fire broke out",
    "The football club",
    "The company said on Monday",
    "Two people were",
    "After years of debate, the city council",
    "The actress",
    "Officials are investigating",
    "Prices of",
    "A teenager from",
)

ENCYCLOPEDIA = (
    "The Battle of",
    "The history of",
    "Photosynthesis is",
    "The river",
    "The city of",
    "The film was",
    "The album was released",
    "The Roman Empire",
    "A computer is",
    "The human heart",
    "The novel",
    "The constitution of",
    "He was born in",
    "She was an American",
    "The island of",
    "The term",
    "The first season of",
    "In mathematics,",
    "The species is",
    "The University of",
)

PROSE = (
    "Once upon a time,",
    "It was a cold evening when",
    "My grandmother used to",
    "Anna: Hi! Are you free tomorrow?\nTom:",
    "Customer: My order has not arrived.\nAgent:",
    "Interviewer: What made you",
    "Dear Sir or Madam,\n\nI am writing to",
    "Hi all,\n\nThanks for joining the meeting. We decided",
    "Dear diary,",
    "I bought this product two weeks ago and",
    "The hotel was",
    "Minutes of the meeting:\n\n1.",
    "Ingredients:\n-",
    "How to change a tire:\n\n1.",
    "Abstract. We study",
    "Introduction\n\nIn recent years,",
)

CODE = (
    "```python\nimport",
    "```python\nclass",
    "```python\ndef",
    "```javascript\nfunction",
    "```sql\nSELECT",
    "```c\n#include",
)

FOREIGN = (
    ("German", "Die Regierung hat"),
    ("German", "Das Unternehmen"),
    ("German", "Der Minister sagte, dass"),
    ("German", "In der Stadt"),
    ("German", "Es war einmal"),
    ("German", "Am Montag"),
    ("German", "Nach Angaben der Polizei"),
    ("German", "Die Mannschaft"),
    ("French", "Le président a"),
    ("French", "Il était une fois"),
    ("French", "La ville de"),
    ("Spanish", "El gobierno de"),
    ("Spanish", "La empresa"),
    ("Spanish", "Había una vez"),
    ("Italian", "Il governo"),
    ("Portuguese", "O presidente"),
)

TRANSLATION_REQUESTS = (
    "Translate {language} to English: {opening}",
    "Translate the following {language} text into English:\n\n{opening}",
    "{opening}",
)

# Before the passage; what follows it is then the answer.
REQUESTS_BEFORE = (
    "Summarize: ",
    "Summarize the following article:\n\n",
    "Write a short summary of this text:\n\n",
    "Summarize this in two sentences. ",
    "TL;DR: ",
    "Rewrite the following text in simple words:\n\n",
    "List the main points of the text below.\n\n",
    "Translate to German: ",
    "Translate into French:\n\n",
    "Correct the mistakes in this text:\n\n",
    "Continue this text:\n\n",
    "What is this text about?\n\n",
)

# After the passage.
REQUESTS_AFTER = (
    "Summarize the text above.",
    "Summarize this in one sentence.",
    "What are the key points?",
    "Write a headline for this text.",
    "What is the main idea of the passage?",
    "Translate the first sentence into German.",
    "Translate this into Spanish.",
    "Rewrite this for a child.",
    "Who is mentioned in the text?",
    "List the names, places and dates in the text.",
    "Continue the text.",
    "Is the tone of the text positive or negative? Explain.",
    "Explain this step by step.",
    "Answer a question about the text: what happened?",
)

# The target finishes these itself.
QUESTION_STARTS = (
    "Who",
    "What",
    "When",
    "Where",
    "Why",
    "How many",
    "How did",
    "Which",
    "What was the",
    "When did the",
    "Question:",
    "According to the text,",
    "Based on the passage,",
)

FOLLOW_UPS = (
    "",
    "Can you",
    "Now",
    "Why",
    "How",
    "What about",
    "Thanks!",
    "Explain",
    "Give me another",
    "Give me an example",
    "Make it shorter.",
    "Make it longer and add",
    "Rewrite your answer",
    "Translate your answer into",
    "Now write it as",
    "Are you sure",
    "Summarize your answer",
    "I don't understand",
)

# What a base model is shown after a passage.
CUES = (
    "\n\nSummary:",
    "\n\nTL;DR:",
    "\n\nQuestion:",
    "\n\nQ: What",
    "\n\nIn German:",
    "\n\nIn French:",
    "\n\nIn short,",
    "\n\nKeywords:",
    "\n\nReferences\n\n",
    "\n\nAnswer:",
    "\n\n",
)
