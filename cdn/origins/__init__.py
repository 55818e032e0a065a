"""How origins are asked: HTTP/1.1 over kept connections, with every deadline, retry and check that keeps their trouble from viewers."""
