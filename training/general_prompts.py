"""General prompts in English and French, written for Tailorbird: what a base model can do that no assistant teaches it.

`REPLAYED` are answered by the base model and replayed in training; `MEASURED` are never trained on and only say how
much was forgotten. No question stands in both. Owns which of them a run takes. Knows no model.
"""

import math
from collections.abc import Iterable

from service.contract.blocklist import Blocklist
from service.contract.jobs import TrainingSettings
from training.rows import NamedRow, prompt_messages

_REPLAYED_EN = (
    "Explain in simple words why the sky is blue.",
    "List three things to check before a long drive.",
    "Write a short thank-you note to a neighbour.",
    "What is the difference between weather and climate?",
    "Give me a recipe for a simple tomato soup.",
    "Correct this sentence: She don't like apples.",
    "What is 17 plus 26?",
    "Summarise the story of Little Red Riding Hood in two sentences.",
    "Name five European capitals.",
    "How do I fall asleep more easily?",
    "Write a Python function that adds two numbers.",
    "Translate into French: The train is late today.",
    "What does the heart do in the human body?",
    "Give two arguments for working from home and two against it.",
    "Describe a forest in autumn.",
    "What is a synonym of happy?",
    "How does a bicycle stay upright?",
    "Turn this into a polite request: Send me the file.",
    "Why do leaves change colour?",
    "Suggest a title for a story about a lost key.",
    "What are the primary colours?",
    "Explain what a budget is to a teenager.",
    "Write a haiku about rain.",
    "How many minutes are there in three hours?",
    "What should I pack for a weekend in the mountains?",
    "Who wrote Romeo and Juliet?",
    "Put these words in alphabetical order: pear, apple, cherry.",
    "How can I remove a coffee stain from a shirt?",
    "What is photosynthesis?",
    "Write an e-mail that moves a meeting to Friday.",
    "Is this review positive or negative? The food was cold and the waiter rude.",
    "Give me three tips for learning a language.",
    "What is the largest planet in the solar system?",
    "Explain the saying: Don't count your chickens before they hatch.",
    "What is a variable in programming?",
    "How do bees make honey?",
    "Make a packing list for a baby's day out.",
    "What is inflation?",
    "Rewrite in the past tense: I walk to school.",
    "Invent a name for a bakery and say why it fits.",
    "What is the boiling point of water at sea level?",
    "How should I prepare for a job interview?",
    "Which of these is not a fruit: banana, carrot, grape?",
    "Tell me a short joke about computers.",
    "Why is sleep important?",
    "What does the abbreviation etc. mean?",
    "Describe how to tie a shoelace.",
    "What happened in the year 1969 on the Moon?",
)

_REPLAYED_FR = (
    "Explique simplement pourquoi la mer est salée.",
    "Donne-moi trois idées de petit-déjeuner.",
    "Écris un court message d'anniversaire pour un collègue.",
    "Quelle est la différence entre une abeille et une guêpe ?",
    "Comment faire une omelette ?",
    "Corrige cette phrase : Les enfant joue dans le jardin.",
    "Combien font 12 fois 8 ?",
    "Résume l'histoire de Cendrillon en deux phrases.",
    "Cite cinq fleuves du monde.",
    "Comment mieux organiser ma journée ?",
    "Qu'est-ce qu'une boucle en programmation ?",
    "Traduis en anglais : Il pleut depuis ce matin.",
    "À quoi servent les poumons ?",
    "Donne un avantage et un inconvénient de la vie en ville.",
    "Décris une plage en hiver.",
    "Quel est le contraire de rapide ?",
    "Comment fonctionne un aimant ?",
    "Rends cette phrase plus polie : Donne-moi ton avis.",
    "Pourquoi y a-t-il des saisons ?",
    "Propose un titre pour un conte sur un renard.",
    "Quels sont les cinq sens ?",
    "Explique ce qu'est un impôt à un enfant.",
    "Écris quatre vers sur le vent.",
    "Combien de jours y a-t-il dans une année bissextile ?",
    "Que faut-il emporter pour une randonnée ?",
    "Qui a peint la Joconde ?",
    "Mets ces mots au pluriel : cheval, bateau, nez.",
    "Comment arroser les plantes pendant les vacances ?",
    "Qu'est-ce que la gravité ?",
    "Écris un courriel pour annuler un rendez-vous.",
    "Cet avis est-il positif ou négatif ? L'hôtel était calme et très propre.",
    "Donne trois conseils pour économiser l'eau.",
    "Quel est l'océan le plus grand ?",
    "Explique le proverbe : Qui va lentement va sûrement.",
    "À quoi sert un dictionnaire ?",
    "Comment se forme un arc-en-ciel ?",
    "Fais une liste de courses pour une salade.",
    "Qu'est-ce que la démocratie ?",
    "Mets au futur : Je mange une pomme.",
    "Invente un nom pour une librairie.",
    "Pourquoi faut-il se laver les mains ?",
    "Comment rédiger un bon CV ?",
    "Quel mot n'est pas un animal : chat, table, lapin ?",
    "Raconte une courte devinette.",
    "Pourquoi le sport est-il bon pour la santé ?",
    "Que veut dire l'expression « avoir le cafard » ?",
    "Décris comment planter un arbre.",
    "Que s'est-il passé en France en 1789 ?",
)

_MEASURED_EN = (
    "What causes thunder?",
    "Name three uses of a paper clip.",
    "Write two sentences about a cat that waits at a window.",
    "What is half of ninety?",
    "Translate into French: Where is the library?",
    "How do I boil an egg?",
    "What is the purpose of a contract?",
    "Give me a synonym of quick and use it in a sentence.",
)

_MEASURED_FR = (
    "Pourquoi la glace flotte-t-elle sur l'eau ?",
    "Donne deux usages d'une vieille bouteille.",
    "Écris deux phrases sur un vieux moulin.",
    "Combien font 45 moins 19 ?",
    "Traduis en anglais : Le chien dort sous la table.",
    "Comment nettoyer une vitre ?",
    "À quoi sert une banque ?",
    "Quel est le contraire de lourd ? Fais une phrase avec ce mot.",
)

REPLAYED = tuple(prompt for both in zip(_REPLAYED_EN, _REPLAYED_FR, strict=True) for prompt in both)
"""The languages take turns, so that the first few are of both."""
MEASURED = tuple(prompt for both in zip(_MEASURED_EN, _MEASURED_FR, strict=True) for prompt in both)


def reads(settings: TrainingSettings, rows: int, step: int | None = None) -> int:
    """How many replayed rows are read until a step, or in all passes over so many training rows."""
    step = math.ceil(rows / settings.batch_size) * settings.n_epochs if step is None else step
    return math.floor(step * settings.batch_size * settings.replay)


def replayed(settings: TrainingSettings, rows: int, cases: Blocklist) -> list[str]:
    """The prompts that a run on so many rows replays; none that asks a held-out question of the assistant."""
    allowed = [prompt for prompt in REPLAYED if cases.match(prompt) is None]
    return allowed[: reads(settings, rows)]


def measured(rows: Iterable[NamedRow]) -> list[str]:
    """The prompts that say how much was forgotten; none that a training row asks."""
    learned = {message.text().strip().casefold() for named in rows for message in prompt_messages(named.row)}
    return [prompt for prompt in MEASURED if prompt.casefold() not in learned]
