"""The client of the Files API: five operations, both shapes, one budget of requests.

`client.Client` is the way in; `models` is what it returns, `budget` hands out requests by priority, `retry` decides
what is sent again. The layer knows nothing of the tree or of the local state. httpx lives here alone.
"""
