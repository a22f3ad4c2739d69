"""The Linux desktop in the box, as the server sees it; the page that shows it is extension/viewer.

`session` starts and watches Xvnc and XFCE, `rfb` reads what a viewer sends, `viewers` knows who may send
what, `bridge` joins a viewer's WebSocket to Xvnc's socket, `routes` is what a browser can ask for. Importing
this imports none of them: a server whose desktop nobody opens pays nothing for it.
"""
