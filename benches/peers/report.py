def write(samples, out):
    (out / "peers.md").write_text("todo")
