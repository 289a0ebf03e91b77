"""What a job says of itself, in French."""

SENTENCES: dict[str, str] = {
    "event_waiting": "Fichiers vérifiés. La tâche attend son tour.",
    "event_cancelled": "Annulée ; rien n’a été publié.",
    "event_cancelled_early": "Annulée avant le début.",
    "event_cancel_asked": "L’annulation a été demandée.",
    "event_paused": "En pause. La tâche reprendra où elle s’est arrêtée.",
    "event_paused_early": "Mise en pause avant le début.",
    "event_paused_after": "Mise en pause après le pas {step} sur {total}.",
    "event_pause_asked": "Une pause a été demandée. La tâche s’arrêtera après le pas en cours.",
    "event_resumed": "Reprise. La tâche attend son tour.",
    "event_resumed_early": "Reprise avant d’être en pause.",
    "event_interrupted_goes_on": "Interrompue : la tâche reprendra de son dernier point de reprise quand viendra "
    "son tour.",
    "event_interrupted_restarts": "Interrompue : la tâche recommencera quand viendra son tour.",
    "event_lost_paused": "Le processus qui l’exécutait a disparu ; la tâche est en pause.",
    "event_lost_goes_on": "Le processus qui l’exécutait a disparu ; la tâche repart de son dernier point de "
    "reprise.",
    "event_lost_restarts": "Le processus qui l’exécutait a disparu ; la tâche recommence.",
    "event_lost_given_up": "La tâche a été interrompue {attempts} fois, puis abandonnée.",
    "event_reading_sft": "Lecture des exemples.",
    "event_reading_dpo": "Lecture des paires de préférence.",
    "event_reading_kto": "Lecture des réponses notées.",
    "event_facts_sft": "{n} exemples : {tokens} jetons, dont {learned} sont appris.",
    "event_facts_sft_one": "{n} exemple : {tokens} jetons, dont {learned} sont appris.",
    "event_facts_dpo": "{n} paires de préférence : {tokens} jetons, dont {learned} sont appris.",
    "event_facts_dpo_one": "{n} paire de préférence : {tokens} jetons, dont {learned} sont appris.",
    "event_facts_kto": "{n} réponses notées : {tokens} jetons, dont {learned} sont appris.",
    "event_facts_kto_one": "{n} réponse notée : {tokens} jetons, dont {learned} sont appris.",
    "event_labels": "{good} sont bonnes et comptent {good_weight} chacune, {bad} ne le sont pas et comptent "
    "{bad_weight}.",
    "event_held_out": "{n} lignes sont réservées ; rien n’en est appris.",
    "event_held_out_one": "{n} ligne est réservée ; rien n’en est appris.",
    "event_loading_base": "Chargement du modèle de base.",
    "event_loading_adapter": "Chargement du modèle de base et de l’adaptateur.",
    "event_reference_base": "Chargement du modèle ; le modèle de base, sa référence, dit combien chaque réponse "
    "lui paraît probable.",
    "event_reference_adapter": "Chargement du modèle ; l’adaptateur de départ, sa référence, dit combien chaque "
    "réponse lui paraît probable.",
    "event_training": "Entraînement en {format}.",
    "event_going_on": "Reprise après le pas {step}.",
    "event_trained": "Entraînement fini. Le serveur en marche charge l’adaptateur ; ses réponses sont comparées à celles de l’entraînement.",
    "event_seen_to_serve": "Servi comme entraîné : l’écart moyen est de {trainer} avec l’entraînement et de {base} "
    "avec le modèle de base (log-probabilités).",
    "event_candidate": "La version {number} de « {assistant} » est candidate.",
    "event_done": "La tâche est terminée. Le modèle affiné est {model}.",
}
