"""The sentences of signing in, in French."""

SENTENCES: dict[str, str] = {
    "sign_in": "Se connecter",
    "sign_out": "Se déconnecter",
    "login_title": "Bienvenue",
    "login_link_text": "Ce lien à usage unique vous connecte sur cet appareil.",
    "login_text": "Ouvrez le lien de connexion que vous avez reçu, ou saisissez une clé d’accès.",
    "login_key": "Clé d’accès",
    "login_hint": "Ni lien ni clé ? Demandez un lien de connexion à la personne qui s’occupe de Tailorbird dans votre "
    "entreprise.",
    "login_nothing": "Saisissez une clé d’accès, ou ouvrez le lien de connexion que vous avez reçu.",
    "login_wrong_link": "Ce lien a déjà servi ou a expiré. Demandez-en un nouveau à un administrateur, ou saisissez "
    "une clé d’accès.",
    "login_wrong_key": "Cette clé d’accès est inconnue ici, révoquée ou expirée. Vérifiez qu’elle a été copiée en "
    "entier, ou demandez-en une nouvelle à un administrateur.",
    "waiting_title": "Un instant",
    "waiting_text": "Le service démarre. Cette page réessaie toute seule.",
    "refused_title": "Pas pour votre rôle",
    "refused_text": "Vous êtes connecté en tant que {name}. Cette page demande le rôle « {role} ». Adressez-vous à un "
    "administrateur si vous devez l’avoir.",
    "back_to_chat": "Retour à la discussion",
    "sign_in_as_other": "Se connecter avec un autre compte",
}
