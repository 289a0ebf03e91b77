"""Where somebody is in the studio, as the page's address says it: a reload, another tab or a colleague comes there too.

Owns the names in the address, and lets nothing through that is not of their kind. Whether what they name is there, and
for whom, the gateway says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from ui.acts import Act
from ui.rounds import SETTING, STEPS, Choices, taken

TABS = ("round", "training", "evaluations", "releases")
NOTHING = "no"
"""In place of the rows of a file that are held out."""
LONGEST = 100
"""Characters of a name or an id, at most."""


@dataclass(frozen=True)
class Place:
    assistant: str = ""
    tab: str = TABS[0]
    job: str = ""
    choices: Choices = Choices()

    @property
    def address(self) -> str:
        """The query of the page's address. What is as it is at first is left out."""
        usual = _said(Place())
        return "?" + urlencode(
            {name: value for name, value in _said(self).items() if value != usual.get(name)}
        )


def read(query: Mapping[str, str]) -> Place:
    """The place that an address names."""
    said = {name: str(value)[:LONGEST] for name, value in query.items()}
    chosen = {name: [said.get(name, "")] for name in ("source", "file")}
    chosen |= {name: [value] for name, value in said.items() if name.startswith(SETTING)}
    if said.get("aside") != NOTHING:
        chosen["aside"] = ["on"]
    choices = taken(Choices(), Act(fields=chosen))
    step = next((one for one in STEPS if str(one) == said.get("step")), 1)
    tab = said.get("tab", "")
    return Place(
        assistant=said.get("assistant", ""), tab=tab if tab in TABS else TABS[0], job=said.get("job", ""),
        choices=replace(choices, step=step if choices.source else 1),
    )  # fmt: skip


def _said(place: Place) -> dict[str, str]:
    chosen = place.choices
    file = chosen.file if chosen.source == "file" else ""
    return {
        "assistant": place.assistant, "tab": place.tab, "job": place.job, "step": str(chosen.step),
        "source": chosen.source, "file": file, "aside": "" if chosen.aside else NOTHING,
        **{f"{SETTING}{name}": text for name, text in chosen.settings},
    }  # fmt: skip
