"""The benchmarks: what the service costs, always beside something else measured in the same run.

`python -m tests.bench [names]`; each story is a module, what it found a list of `figures.Figure`.
"""
