"""Tailorbird's service: the gateway, the worker and the command behind both.

Five laws hold in this house; `tests/test_architecture.py` and import-linter check them.

1. One word, one filename, in every room: `find . -name '*feedback*'` shows a whole slice.
2. Rooms meet at the contract: typed vocabulary, a run folder, an HTTP call.
3. The gateway stays light: no torch, vLLM, TRL, Gradio or ragas in its process.
4. One request, or one step of a job, is one transaction, committed at the edge.
5. Nothing happens on import.

Layers: app | worker | cli  >  api  >  domain  >  db | engine | storage  >  contract
"""
