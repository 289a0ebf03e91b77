"""For administrators: people, access keys, assistants, the house's rules, the state of the service and the journal.

Owns the screen's events; each section's reading and drawing lies in the module of its name.
"""

import gradio as gr

from ui import assistants, audit, house_rules, keys, status, users
from ui.panel import panel, read
from ui.screens import MANY, Screen


class Admin(Screen):
    name = "admin"

    def build(self) -> gr.Blocks:
        w = self.w
        with gr.Blocks(title=f"{w('admin')} · Tailorbird", analytics_enabled=False, fill_width=True) as page:
            header = panel("header")
            with gr.Column(elem_id="admin"), gr.Tabs(elem_id="tabs"):
                with gr.Tab(w("tab_people")):
                    people = panel("people")
                with gr.Tab(w("tab_keys")):
                    held = panel("keys")
                with gr.Tab(w("tab_assistants")):
                    offered = panel("assistants")
                with gr.Tab(w("tab_house_rules")):
                    rules = panel("rules")
                with gr.Tab(w("tab_status")):
                    state = panel("status")
                with gr.Tab(w("tab_audit")):
                    journal = panel("audit")
            clock = gr.Timer(5)
            page.load(self.load, None, [header, people, held, offered, rules, state, journal], **MANY)
            people.click(self.people_act, None, people, trigger_mode="multiple", **MANY)
            held.click(self.keys_act, None, held, trigger_mode="multiple", **MANY)
            offered.click(self.assistants_act, None, offered, trigger_mode="multiple", **MANY)
            rules.click(self.rules_act, None, rules, trigger_mode="multiple", **MANY)
            journal.click(self.audit_act, None, journal, trigger_mode="multiple", **MANY)
            clock.tick(self.look, None, state, **MANY)
        return page

    async def load(self, request: gr.Request) -> list[str]:
        with self.spoken():
            token, user = await self.person(request)
            return [
                self.header(user),
                await users.listing(self.gateway, token, self.w, me=user.id),
                await keys.listing(self.gateway, token, self.w),
                await assistants.listing(self.gateway, token, self.w),
                await house_rules.listing(self.gateway, token, self.w),
                await status.shown(self.gateway, token, self.w),
                await audit.listing(self.gateway, token, self.w),
            ]

    async def people_act(self, event: gr.EventData, request: gr.Request) -> str:
        with self.spoken():
            token, user = await self.person(request)
            shown_once = await users.do(self.gateway, token, read(event))
            return await users.listing(self.gateway, token, self.w, me=user.id, link=shown_once)

    async def keys_act(self, event: gr.EventData, request: gr.Request) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            made = await keys.do(self.gateway, token, read(event))
            return await keys.listing(self.gateway, token, self.w, made=made)

    async def assistants_act(self, event: gr.EventData, request: gr.Request) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            saved = await assistants.do(self.gateway, token, read(event))
            return await assistants.listing(self.gateway, token, self.w, saved=saved)

    async def rules_act(self, event: gr.EventData, request: gr.Request) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            return await house_rules.listing(self.gateway, token, self.w, read(event))

    async def audit_act(self, event: gr.EventData, request: gr.Request) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            return await audit.listing(self.gateway, token, self.w, read(event))

    async def look(self, request: gr.Request) -> str:
        with self.spoken():
            token, _ = await self.person(request)
            return await status.shown(self.gateway, token, self.w)
