"""Answers where a single-user server would, at once: these tests are about the hub's pages."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Jupyter</title><h1>The server answers</h1>")

    def log_message(self, *args):
        pass


where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((where.hostname, where.port), Answer).serve_forever()
