"""The hub that `make run` runs. Copy it, change what your lab decides, and run it with

    gpubox run --config jupyterhub_config.py

All options with their help: jupyterhub --help-all. The admin guide: docs/admin-guide.md.
"""

import os

from gpubox.config import configure

c = get_config()  # noqa: F821  (JupyterHub provides it)

# State directory, pages, network and names that fit together. What you set below wins.
configure(c, engine=os.environ.get("ENGINE", "docker"))

# Where people reach the hub: this machine alone, on the port that `gpubox run --port` names. For the
# network of your lab put a TLS proxy in front, or set ssl_key and ssl_cert and bind to all addresses:
# c.JupyterHub.ssl_key = "/etc/ssl/private/hub.key"; c.JupyterHub.ssl_cert = "/etc/ssl/certs/hub.pem"
# c.JupyterHub.bind_url = "https://0.0.0.0:443"

# Who may log in. By default the user "admin" alone, with the password that `gpubox run` shows.
# The accounts of this machine:
# c.JupyterHub.authenticator_class = "pam"; c.Authenticator.allow_all = True
# GitHub, Google, your university (pip install oauthenticator):
# c.JupyterHub.authenticator_class = "github"; c.GitHubOAuthenticator.allowed_organizations = {"my-lab"}
# People sign up, the admin approves (pip install jupyterhub-nativeauthenticator):
# c.JupyterHub.authenticator_class = "native"

# What people may pick. Left out, it is derived from the GPUs found: a CPU machine, and 1, 2, 4
# and 8 of each GPU, with an even share of processors and memory.
# c.GPUSpawner.machines = [
#     {"title": "CPU", "cpus": 4, "memory": "16G"},
#     {"title": "1x H100", "gpu": "H100", "cpus": 16, "memory": "128G", "shm": "32G", "price": 2.5},
#     {"title": "4x H100", "gpu": "H100", "count": 4, "price": 10, "groups": ["big-models"]},
#     {"title": "Quarter of an A100", "gpu": "A100", "sharing": "shared: 4", "time_limit": "12h"},
#     {"title": "1/7 of an A100", "gpu": "A100", "sharing": "mig: 1g.10gb"},
# ]

# SSH, on port 2222 of this machine alone; opened to your lab's network:
# c.GPUSSH.ip = "0.0.0.0"

# More services and roles are added to those that configure() made; `=` would take the pages away.
# c.JupyterHub.services.append({"name": "prometheus", "api_token": ...})

# Fairness: after this many seconds nobody who came later is served before a waiting person.
# c.GPUHub.patience = 1800
# Quotas and budgets: who may have how much at once, for how long, and in a month.
# c.GPUHub.rules = [
#     {"gpus": 2, "session": "1d"},
#     {"groups": ["students"], "gpus": 1, "budget": {"gpu_hours": 50}, "per": "month"},
# ]
# Machines that do nothing are stopped, after a notice; and those whose GPU does nothing.
# c.GPUHub.idle = "4h"; c.GPUHub.gpu_idle = "1h"
