"""A certificate of a server's own, as tests make it."""

import subprocess


def make_certificate(path):
    """Key and certificate in one file; answers the file with the certificate alone."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=lathe", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
                    "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)  # fmt: skip
    with open(path, "a") as both, open(f"{path}.crt") as certificate:
        both.write(certificate.read())
    return f"{path}.crt"
