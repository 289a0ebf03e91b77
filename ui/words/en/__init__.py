"""Every sentence in English, by name, in a file for each page. The other language has the same names."""

from ui.words.en import (
    adapters,
    admin,
    chat,
    documents,
    duels,
    events,
    failures,
    feedback,
    imports,
    login,
    reports,
    reviews,
    rounds,
    screens,
    studio,
    timeline,
)

ENGLISH: dict[str, str] = {
    **login.SENTENCES,
    **screens.SENTENCES,
    **chat.SENTENCES,
    **feedback.SENTENCES,
    **studio.SENTENCES,
    **reports.SENTENCES,
    **adapters.SENTENCES,
    **timeline.SENTENCES,
    **rounds.SENTENCES,
    **events.SENTENCES,
    **failures.SENTENCES,
    **imports.SENTENCES,
    **documents.SENTENCES,
    **duels.SENTENCES,
    **reviews.SENTENCES,
    **admin.SENTENCES,
}
