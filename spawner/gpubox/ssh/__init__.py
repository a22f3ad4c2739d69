"""The SSH gateway: ``ssh -p 2222 ana@hub`` is a session in Ana's machine.

A service of its own process beside the hub. It knows who somebody is by a public key that they put in on the
hub's page, or by a token of the hub; starts their machine where it is stopped, and tells how that goes; and
then passes SSH's own messages on to the sshd in the machine (`jupyterlab_gpubox.ssh`), over a WebSocket to
the machine's server.

``settings`` are the options, ``keys`` the public keys, ``limits`` who has failed too often: all of it pure or
plain tables. ``gateway`` meets people at the port, ``machine`` gets their machine to run, ``tunnel`` and
``relay`` are the way into it. ``__main__`` is what the hub starts.
"""
