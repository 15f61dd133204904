"""The plain way to serve a model, to measure against: one blocking request after the other, the whole file at the end.

A stand-in for a server whose handler calls the model; run as a process of its own by `dia.bench.http`.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


def main(folder: str) -> None:
    """Serve the checkpoint in `folder` on a free port until killed; the port is the first line of standard output."""
    from dia.media.encode import encode_audio
    from dia.model import Dia

    model = Dia.from_pretrained(folder, slots=1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            waveform = model.generate(asked["text"], max_tokens=asked["max_tokens"], seed=asked["seed"])
            data = encode_audio(waveform, model.sample_rate_hz, "wav")
            self.send_response(200)
            self.send_header("Content-Type", "audio/wav")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    # Room for everybody who waits: without it the kernel would refuse what the server has no time for.
    HTTPServer.request_queue_size = 256
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
