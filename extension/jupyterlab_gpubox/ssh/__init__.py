"""SSH into the box: each connection of the hub's gateway is a WebSocket to an ``sshd`` of its own.

``routes`` is the WebSocket, ``daemon`` starts OpenSSH's server for it. Who may connect is decided twice:
Jupyter's log-in guards the WebSocket, and sshd takes the one key that came with it. Nothing listens on a
port.
"""
