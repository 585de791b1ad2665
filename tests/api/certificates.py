"""Certificates for the tests."""

import subprocess


def make_certificate(folder, name, kind=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """NAME.pem and NAME.key, for 127.0.0.1."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-nodes", *kind, "-keyout", files[1], "-out", files[0], "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)  # fmt: skip
    return files
