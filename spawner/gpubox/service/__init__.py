"""The hub-managed service `gpubox`: pages, REST API, live events, /metrics, the culler, notices.

It reads the hub's database and watches the hub by its control socket. Leases are the hub's: what is to
change of them is asked of it (``control.client``).
"""
