"""The only door to the gateway. Every call carries the signed-in person's token.

The calls are in a file for each kind of person who makes them; how a call is made is in `door`.
"""

from ui.client.administration import Administration
from ui.client.chat import Begun, Chat
from ui.client.door import Refused
from ui.client.training import Training

__all__ = ["Begun", "Gateway", "Refused"]


class Gateway(Chat, Training, Administration):
    """The gateway's API, as far as the screens use it. All methods raise `Refused`."""
