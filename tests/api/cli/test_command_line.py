"""The command line as scripts use it: what goes to stdout and stderr, exit codes, where it finds the server."""

import json
import stat


def test_results_go_to_stdout_and_messages_to_stderr(server):
    made = server.cli("token", "create", "-n", "ci", "--expires-in", "1h", "-g", "rg", "--workspace-name", "ws")
    token = made.json()
    assert token["name"] == "ci" and token["token"]
    assert made.stderr == "lathe: --resource-group is ignored\nlathe: --workspace-name is ignored\n"
    shown = server.cli("token", "list", "--query", f"[?id=='{token['id']}'].[name, user]", "-o", "tsv")
    assert shown.stdout == "ci\tadmin\n"
    server.cli("token", "revoke", token["id"])
    assert server.cli("token", "list", "--query", f"[?id=='{token['id']}']").json() == []


def test_every_output_format_shows_the_same(server):
    assert server.cli("user", "list").json()[0]["name"] == "admin"
    assert server.cli("user", "list", "-o", "table").stdout.splitlines()[0].split() == ["Name", "Role", "Created", "by", "Created"]
    assert server.cli("user", "list", "-o", "yaml").stdout.startswith("- name: admin\n")
    assert server.cli("user", "list", "-o", "none").stdout == ""
    assert server.cli("user", "list", "--query", "[0].name", "-o", "tsv").stdout == "admin\n"


def test_exit_codes_tell_what_kind_of_failure_it_was(server):
    def failing(*args, **options):
        done = server.cli(*args, check=False, **options)
        assert done.stdout == "" and done.stderr.startswith("lathe: "), done
        return done.returncode

    assert failing("jbo", "list") == 2
    assert failing("job", "list", "--no-such-flag") == 2
    assert failing("user", "list", "--query", "a[") == 2
    assert failing("user", "list", "-o", "xml") == 2
    assert failing("serve", "--prot", "1") == 2
    assert failing("stop", "--port", "1") == 2
    assert failing("config") == 2
    assert failing("job", "show", "-n", "nobody") == 3
    assert failing("user", "list", env={"LATHE_TOKEN": "wrong"}) == 4
    assert failing("user", "delete", "admin", "--yes") == 5
    assert failing("user", "list", env={"LATHE_URL": "http://127.0.0.1:1"}) == 6


def test_mistakes_name_what_was_meant(server):
    assert '"jbo"; the nearest are job' in server.cli("jbo", "list", check=False).stderr
    assert "--output" in server.cli("job", "list", "--ouput", "x", check=False).stderr
    assert "column 3" in server.cli("user", "list", "--query", "a[", check=False).stderr
    assert "say --yes" in server.cli("user", "delete", "mia", check=False).stderr
    assert "lathe login" in server.cli("user", "list", env={"LATHE_TOKEN": "wrong"}, check=False).stderr


def test_without_a_server_it_says_how_to_start_one(server, tmp_path):
    nowhere = {"LATHE_URL": None, "LATHE_TOKEN": None, "LATHE_DATA": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = server.cli("job", "list", env=nowhere, check=False)
    assert done.returncode == 6
    assert done.stderr == "lathe: no server is running here; start one with `lathe serve`\n"


def test_the_local_server_is_found_by_its_data_folder(server):
    alone = {"LATHE_URL": None, "LATHE_TOKEN": None}
    assert server.cli("user", "list", "--data", server.data, env=alone).json()
    assert server.cli("user", "list", env={**alone, "LATHE_DATA": str(server.data)}).json()


def test_login_stores_a_context_for_its_owner_only(server):
    alone = {"LATHE_URL": None, "LATHE_TOKEN": None, "LATHE_DATA": "/nonexistent"}
    made = server.cli("user", "create", "mia", "--query", "token", "-o", "tsv", check=False)
    token = made.stdout.strip() if made.returncode == 0 else server.token  # one account only where jobs cannot be kept apart
    done = server.cli("login", server.url, "--name", "box", input=token + "\n", env=alone)
    assert token not in done.stdout + done.stderr
    file = server.home / "config" / "lathe" / "contexts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["contexts"]["box"]["url"] == server.url

    assert server.cli("context", "list", env=alone).json()[0]["current"]
    assert isinstance(server.cli("token", "list", env=alone).json(), list)
    assert server.cli("login", server.url, "--token", "wrong", env=alone, check=False).returncode == 4
    assert server.cli("context", "use", "bxo", env=alone, check=False).stderr.endswith('the nearest is "box"\n')

    server.cli("context", "use", "local", env=alone)
    assert server.cli("token", "list", env=alone, check=False).returncode == 6
    assert isinstance(server.cli("token", "list", "--context", "box", env=alone).json(), list)
    server.cli("context", "use", "box", env=alone)
    server.cli("logout", env=alone)
    assert server.cli("context", "list", env=alone).json() == []


def test_every_help_page_has_examples_and_exit_codes(server):
    groups = server.cli("--help").stdout
    for group in ("job", "compute", "data", "environment", "model", "online-endpoint", "online-deployment", "user", "token"):
        assert f"\n  {group} " in groups
        assert "Examples" in server.cli(group, "--help").stdout
    page = server.cli("job", "create", "--help").stdout
    for word in ("--stream", "--set", "--query", "Exit codes", "lathe job create -f job.yml --stream"):
        assert word in page


def test_compute_from_flags_and_from_a_file(server, tmp_path):
    made = server.cli("compute", "create", "--name", "cpu", "--type", "amlcompute", "--min-instances", "0", "--max-instances", "2",
                      "--idle-time-before-scale-down", "60")  # fmt: skip
    assert (made.json()["max_instances"], made.json()["idle_time_before_scale_down"]) == (2, 60)
    assert server.cli("compute", "update", "-n", "cpu", "--max-instances", "3").json()["max_instances"] == 3
    file = tmp_path / "compute.yml"
    file.write_text("name: cpu2\ntype: amlcompute\nmax_instances: many\n")
    done = server.cli("compute", "create", "-f", file, check=False)
    assert done.returncode == 2 and done.stderr.startswith(f"lathe: {file}:3: max_instances: "), done
    server.cli("compute", "create", "-f", file, "--set", "max_instances=1")
    names = server.cli("compute", "list", "--query", "[].name").json()
    assert {"cpu", "cpu2", "local"} <= set(names)
    assert server.cli("compute", "show", "-n", "cp", check=False).stderr.count("cpu")
    for name in ("cpu", "cpu2"):
        server.cli("compute", "delete", "-n", name, "--yes")
