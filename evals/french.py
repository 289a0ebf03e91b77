"""The French of an evaluation, by the English sentence.

`tests/evals/test_phrases.py` finds what is missing here and what nobody says.
"""

FRENCH: dict[str, str] = {
    # Who, how much, which language
    "the candidate": "la version candidate",
    "the live release": "la version en service",
    "the base model": "le modèle de base",
    "Candidate": "Candidate",
    "Live": "En service",
    "Base": "Base",
    "German": "allemand",
    "English": "anglais",
    "Spanish": "espagnol",
    "French": "français",
    "Italian": "italien",
    "Dutch": "néerlandais",
    "Portuguese": "portugais",
    "(95 % interval {low} to {high}, {questions})": "(intervalle à 95 % de {low} à {high}, {questions})",
    "1 question": "1 question",
    "{n} questions": "{n} questions",
    ":": " :",
    # Why a gate passes or holds
    "There is no live release and no base model to compare the candidate with. Name one.": "Il n’y a ni version en "
    "service ni modèle de base auxquels comparer la version candidate. Indiquez-en un.",
    "Of the {planned} questions the candidate was taught {learned}, itself or by what it went on from: its answers to "
    "them show memory. Take them out of the questions, or train without the rows that ask them, and evaluate "
    "again.": "Sur les {planned} questions, la version candidate en a appris {learned}, par elle-même ou par ce dont "
    "elle est partie : ses réponses y montrent sa mémoire. Retirez-les des questions, ou entraînez sans les lignes qui "
    "les posent, puis recommencez la mesure.",
    "{failed} of the {planned} planned questions got no valid answer or score for {who}: nothing can pass before "
    "every planned question counts. Remove the cause, listed with the failed questions, and evaluate again.": "Sur "
    "les {planned} questions prévues, {failed} sont restées sans réponse valable ou sans note pour {who} : rien ne "
    "peut être admis avant que chaque question prévue compte. Supprimez la cause, indiquée avec les questions en "
    "échec, puis recommencez la mesure.",
    "Only {questions} can be scored on '{title}', and below {fewest} even a clean sweep may be chance. Add cases and "
    "evaluate again.": "Seulement {questions} à noter sur « {title} » : au-dessous de {fewest}, même un sans-faute "
    "peut être dû au hasard. Ajoutez des questions, puis recommencez la mesure.",
    "The candidate is worse than the live release: {mean} points on '{title}' {interval}, where a loss of at most "
    "{allowed} points is allowed.": "La version candidate est moins bonne que la version en service : {mean} points "
    "sur « {title} » {interval}, alors qu’une perte de {allowed} points au plus est permise.",
    "It cannot be ruled out that the candidate is worse than the live release by more than {allowed} points: the "
    "difference on '{title}' is {mean} points {interval}. {more}": "Il n’est pas exclu que la version candidate soit "
    "moins bonne que la version en service de plus de {allowed} points : l’écart sur « {title} » est de {mean} points "
    "{interval}. {more}",
    "The candidate is worse than the base model: {mean} points on '{title}' {interval}. Look at what it was trained "
    "on.": "La version candidate est moins bonne que le modèle de base : {mean} points sur « {title} » {interval}. "
    "Regardez sur quoi elle a été entraînée.",
    "The candidate is not shown to be better than the base model: the difference on '{title}' is {mean} points "
    "{interval}. {more}": "Rien ne montre que la version candidate soit meilleure que le modèle de base : l’écart sur "
    "« {title} » est de {mean} points {interval}. {more}",
    "In {language} ({questions}) the candidate is {loss} points worse than {against} on '{title}'; a loss of at most "
    "{allowed} points is allowed in any one language.": "En {language} ({questions}), la version candidate est moins "
    "bonne que {against} de {loss} points sur « {title} » ; une perte de {allowed} points au plus est permise dans "
    "une langue.",
    "On '{title}' the candidate scores {candidate} and {against} {rival}: {mean} points {interval}.": "Sur "
    "« {title} », la version candidate obtient {candidate} et {against} {rival} : {mean} points {interval}.",
    "That is better than {against}, beyond chance.": "C’est mieux que {against}, au-delà du hasard.",
    "That shows no difference from {against}, and rules out one of more than the {allowed} points allowed.": "Aucune "
    "différence avec {against} n’apparaît, et une perte dépassant les {allowed} points permis est exclue.",
    "That shows a small loss against {against}, and rules out one of more than the {allowed} points allowed.": "Une "
    "petite perte apparaît face à {against}, et une perte dépassant les {allowed} points permis est exclue.",
    "More questions of this kind would not change that; better training data might.": "Davantage de questions de ce "
    "genre n’y changeraient rien ; de meilleures données d’entraînement, peut-être.",
    "A few more questions may settle it.": "Quelques questions de plus pourraient trancher.",
    "About {n} questions like these would be needed to settle it.": "Il faudrait environ {n} questions comme "
    "celles-ci pour trancher.",
    # Why an answer does not count
    "no answer within {seconds} seconds": "pas de réponse en {seconds} secondes",
    "the gateway answered {status}: {words}": "la passerelle a répondu {status} : {words}",
    "the gateway could not be reached": "la passerelle n’a pas pu être jointe",
    "the gateway's answer could not be read: {words}": "la réponse de la passerelle n’a pas pu être lue : {words}",
    "the gateway did not say which adapter answered (no x-tailorbird-adapter header)": "la passerelle n’a pas dit "
    "quel adaptateur a répondu (pas d’en-tête x-tailorbird-adapter)",
    "an adapter ({adapter}) answered in place of the base model": "un adaptateur ({adapter}) a répondu à la place du "
    "modèle de base",
    "the base model answered in place of the candidate": "le modèle de base a répondu à la place de la version "
    "candidate",
    "adapter {adapter} answered, it should have been {expected}": "l’adaptateur {adapter} a répondu, ce devait être "
    "{expected}",
    "adapter {adapter} of release {release} answered, the answers before came from adapter {earlier} of release "
    "{before}": "l’adaptateur {adapter} de la version {release} a répondu ; les réponses précédentes venaient de "
    "l’adaptateur {earlier} de la version {before}",
    "the metric '{metric}' failed on the answer": "la mesure « {metric} » a échoué sur cette réponse",
    # Measures
    "Facts stated": "Faits énoncés",
    "Share of the facts a right answer must hold that the answer states.": "Part des faits qu’une bonne réponse doit "
    "contenir et que la réponse énonce.",
    "Word for word": "Mot pour mot",
    "Share of answers that are the reference, letter case and punctuation aside.": "Part des réponses identiques à la "
    "référence, sans compter les majuscules ni la ponctuation.",
    "Wording (chrF)": "Formulation (chrF)",
    "How much of the reference's wording, in pieces of up to six letters, the answer shares.": "Ce que la réponse "
    "partage de la formulation de la référence, par morceaux de six lettres au plus.",
    "Word order (ROUGE-L)": "Ordre des mots (ROUGE-L)",
    "Longest run of words, in order, that the answer shares with the reference.": "La plus longue suite de mots, dans "
    "l’ordre, que la réponse partage avec la référence.",
    "Length": "Longueur",
    "1 is as long as the reference; shorter and longer both lower it. Reported, not decided on.": "1 : aussi longue "
    "que la référence ; plus courte ou plus longue, elle baisse. Indiquée, sans effet sur le verdict.",
    "Letters (ragas)": "Lettres (ragas)",
    "1 minus the share of letters to change to get the reference (Levenshtein).": "1 moins la part des lettres à "
    "changer pour obtenir la référence (Levenshtein).",
    "Wording (ragas chrF)": "Formulation (chrF de ragas)",
    "chrF by ragas: a second opinion on our own.": "chrF par ragas : un second avis sur le nôtre.",
    "Judged correct": "Jugée juste",
    "A judge model's verdict, told what a right answer holds: right 1, partly 0.5, wrong 0.": "Le verdict d’un modèle "
    "juge qui sait ce que contient une bonne réponse : juste 1, en partie 0,5, fausse 0.",
    "Claims supported (ragas)": "Affirmations confirmées (ragas)",
    "F1 of the claims of answer and reference that support each other, as a judge model sees them.": "F1 des "
    "affirmations de la réponse et de la référence qui se confirment, selon un modèle juge.",
    # The page
    "95 % interval {low} to {high} points": "intervalle à 95 % de {low} à {high} points",
    "A good answer:": "Une bonne réponse :",
    "No valid answer:": "Pas de réponse valable :",
    "An empty answer.": "Une réponse vide.",
    "decides": "décide",
    "pass": "admise",
    "hold": "bloquée",
    "Evaluation of {name}": "Évaluation de {name}",
    "This candidate should not go live yet": "Cette version candidate ne devrait pas encore être mise en service",
    "Better than what answers today": "Meilleure que ce qui répond aujourd’hui",
    "As good as what answers today": "Aussi bonne que ce qui répond aujourd’hui",
    "{name} was asked {n} held-out questions.": "{n} questions réservées ont été posées à {name}.",
    "{n} of them can be scored on '{title}', which decides.": "{n} d’entre elles peuvent être notées sur "
    "« {title} », qui décide.",
    "Against {rival}, the candidate answers {better} better, {same} as well and {worse} worse.": "Face à {rival}, la "
    "version candidate répond mieux à {better} questions, aussi bien à {same} et moins bien à {worse}.",
    "Both were answered by the same adapter: this compares a thing with itself.": "Le même adaptateur a répondu pour "
    "les deux : une chose est ici comparée à elle-même.",
    "{low} to {high}": "de {low} à {high}",
    "better · same · worse": "mieux · pareil · moins bien",
    "answers, against {rival}": "réponses, face à {rival}",
    "held-out questions": "questions réservées",
    "How the answers scored": "Les notes des réponses",
    "Everyone was asked the same questions. Longer bars are better; the thin line is the range in which the true "
    "figure lies with 95 % confidence.": "Les mêmes questions ont été posées à chacun. Plus la barre est longue, mieux "
    "c’est ; le trait fin est l’intervalle où se trouve la vraie valeur, avec 95 % de confiance.",
    "Where it is weak, where it is strong": "Ses faiblesses, ses forces",
    "{title} by language and topic, the weakest first.": "{title}, par langue et par sujet, le plus faible d’abord.",
    "The change is against {rival}, in points; a bar that touches the middle may be chance.": "Le changement est "
    "donné face à {rival}, en points ; une barre qui touche le milieu peut être due au hasard.",
    "Questions about": "Questions sur",
    "Questions": "Questions",
    "Count": "Nombre",
    "Change": "Changement",
    "language": "langue",
    "topic": "sujet",
    "Failed questions": "Questions en échec",
    "{n} without a valid answer or score. Each counts as the worst score.": "{n} sans réponse valable ou sans note. "
    "Chacune compte comme la pire note.",
    "Who": "Qui",
    "Question": "Question",
    "What happened": "Ce qui s’est passé",
    "Answers that got better": "Réponses devenues meilleures",
    "The largest gains.": "Les plus grands gains.",
    "The largest gains, {n} of {all}.": "Les plus grands gains, {n} sur {all}.",
    "A tick is a fact that the answer states.": "Une coche marque un fait que la réponse énonce.",
    "Answers that got worse": "Réponses devenues moins bonnes",
    "The largest losses.": "Les plus grandes pertes.",
    "The largest losses, {n} of {all}.": "Les plus grandes pertes, {n} sur {all}.",
    "None, on '{title}'.": "Aucune, sur « {title} ».",
    "For specialists": "Pour les spécialistes",
    "Second opinions by ragas": "Second avis de ragas",
    "All scores": "Toutes les notes",
    "Metric": "Mesure",
    "Contestant": "Qui répond",
    "Mean": "Moyenne",
    "95 % interval": "Intervalle à 95 %",
    "Cases": "Questions",
    "Failed": "Échecs",
    "Paired differences, candidate minus the other": "Écarts par paires, la candidate moins l’autre",
    "Against": "Face à",
    "Who answered": "Qui a répondu",
    "Adapter": "Adaptateur",
    "Words (median)": "Mots (médiane)",
    "Cut at the limit": "Coupées à la limite",
    "Empty": "Vides",
    "none": "aucun",
    "Settings": "Réglages",
    "Evaluation": "Évaluation",
    "its answers taken over from {evaluation}: the same adapter, questions, instructions, sampling and engine": "ses "
    "réponses reprises de {evaluation} : mêmes adaptateur, questions, consignes, échantillonnage et moteur",
    "Decides": "Décide",
    "{metric} on {n} of {all} questions": "{metric} sur {n} des {all} questions",
    "({metric} was asked for; no question allows it)": "({metric} était demandée ; aucune question ne la permet)",
    "Margin": "Marge",
    "{n} points": "{n} points",
    "Sampling": "Échantillonnage",
    "temperature 0, seed {seed}, at most {tokens} tokens, {at_once} at once, {timeout} s for an answer": "température "
    "0, graine {seed}, {tokens} jetons au plus, {at_once} à la fois, {timeout} s pour une réponse",
    "Judge": "Juge",
    "Cases, SHA-256": "Questions, SHA-256",
    "Took": "Durée",
    "How it is measured": "Comment elle est mesurée",
    "A question that stays unanswered counts as the worst score; the denominator is always the planned number. "
    "Intervals are 95 % percentile bootstraps with 10,000 resamples (Wilson's where every score is 0 or 1); "
    "differences are paired by question. Questions are taken to be independent of each other; several questions from "
    "one document make the intervals too narrow.": "Une question restée sans réponse compte comme la pire note ; le "
    "dénominateur est toujours le nombre prévu. Les intervalles à 95 % viennent d’un bootstrap par percentiles avec "
    "10 000 rééchantillonnages (ceux de Wilson là où chaque note est 0 ou 1) ; les écarts sont pris par paires, "
    "question par question. Les questions sont supposées indépendantes ; plusieurs questions tirées d’un même document "
    "rendent les intervalles trop étroits.",
    "The verdict rests on one metric named beforehand: against a live release the candidate must not be worse by more "
    "than the margin, against the base model it must be better, and no language of at least ten questions may lose "
    "more than twice the margin. One measurement at temperature 0 does not show how much the same model differs from "
    "itself between two runs.": "Le verdict repose sur une seule mesure, nommée d’avance : face à une version en "
    "service, la version candidate ne doit pas être moins bonne de plus que la marge ; face au modèle de base, elle "
    "doit être meilleure ; et aucune langue d’au moins dix questions ne doit perdre plus de deux fois la marge. Une "
    "seule mesure à température 0 ne montre pas combien le même modèle diffère de lui-même d’une fois à l’autre.",
    "Made by Tailorbird on the machine that serves the assistant. This page holds everything it shows and fetches "
    "nothing.": "Fait par Tailorbird sur la machine qui sert l’assistant. Cette page contient tout ce qu’elle montre "
    "et ne va rien chercher ailleurs.",
}  # fmt: skip
