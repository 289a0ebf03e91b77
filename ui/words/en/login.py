"""The sentences of signing in, in English."""

SENTENCES: dict[str, str] = {
    "sign_in": "Sign in",
    "sign_out": "Sign out",
    "login_title": "Welcome",
    "login_link_text": "This one-time link signs you in on this device.",
    "login_text": "Open the sign-in link you were given, or enter an access key.",
    "login_key": "Access key",
    "login_hint": "No link and no key? Ask the person who looks after Tailorbird at your company for a sign-in link.",
    "login_nothing": "Enter an access key, or open the sign-in link you were given.",
    "login_wrong_link": "This link has been used already, or has expired. Ask an administrator for a new one, "
    "or enter an access key.",
    "login_wrong_key": "This access key is not known here, was revoked or has expired. Check that all of it was "
    "copied, or ask an administrator for a new one.",
    "waiting_title": "Just a moment",
    "waiting_text": "The service is starting. This page tries again by itself.",
    "refused_title": "Not for your role",
    "refused_text": "You are signed in as {name}. This page needs the role “{role}”. Ask an administrator if you "
    "should have it.",
    "back_to_chat": "Back to the chat",
    "sign_in_as_other": "Sign in as somebody else",
}
