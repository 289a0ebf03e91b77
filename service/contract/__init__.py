"""The vocabulary every room shares. Pydantic and the standard library only.

`training`, `evals` and `ui` import these modules and nothing else of `service`.
"""
