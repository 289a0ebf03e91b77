"""The screens: a chat for everybody, a studio for reviewers, and a page for administrators.

A process of its own that talks to the gateway through `ui.client` and nothing else. It has no authority:
every act carries the signed-in person's own token, and the gateway decides.
"""

from ui import stubs

stubs.leave_out()
