"""Beyond loopback: TLS with a certificate of the server's own, pinned by clients, and used by jobs."""

import requests
from lathe_server import Server, wait_for


def test_beyond_loopback_tls_is_used_and_jobs_trust_it():
    with Server("--host", "0.0.0.0") as server:
        assert server.url.startswith("https://")
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        certificate = str(server.data / "tls" / "certificate.pem")
        headers = {"Authorization": f"Bearer {server.token}"}
        assert requests.get(url + "/api/v1/me", headers=headers, verify=certificate, timeout=30).json()["user"] == "admin"

        command = 'python -c "import lathe; lathe.log_metric(\\"seen\\", 1)"'
        made = requests.post(url + "/api/v1/jobs", json={"name": "speaks-tls", "command": command}, headers=headers, verify=certificate,
                             timeout=30)  # fmt: skip
        assert made.status_code == 201, made.text

        def ended():
            job = requests.get(url + "/api/v1/jobs/speaks-tls", headers=headers, verify=certificate, timeout=30).json()
            return job if job["status"] in ("Completed", "Failed") else None

        assert wait_for(ended, 60)["status"] == "Completed"
        run = requests.get(url + "/api/2.0/mlflow/runs/get?run_id=speaks-tls", headers=headers, verify=certificate, timeout=30).json()
        assert run["run"]["data"]["metrics"][0]["key"] == "seen"


def test_auth_off_works_on_loopback_only():
    with Server("--auth", "off") as server:
        assert requests.get(server.url + "/api/v1/me", timeout=30).json()["role"] == "administrator"
        refused = server._run("serve", "--data", str(server.folder / "other"), "--host", "0.0.0.0", "--auth", "off", env=server.env, limit_s=30)
        assert refused.returncode != 0 and "loopback" in refused.stderr
