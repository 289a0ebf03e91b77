"""The room of measured comparisons: held-out cases in, scores, a gate and a page for people out.

Owns how an answer is scored and when a release is held. Knows `service.contract` and the gateway's
HTTP API, and nothing else of the service.
"""
