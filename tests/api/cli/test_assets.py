"""Data, environments and models from the command line."""


def test_data_from_flags_and_by_version_and_label(server):
    folder = server.folder / "assets"
    folder.mkdir()
    (folder / "table.csv").write_text("a,b")
    made = server.cli("data", "create", "-n", "iris", "--path", "table.csv", "--type", "uri_file", cwd=folder).json()
    assert (made["version"], made["path"]) == ("1", str(folder / "table.csv"))
    (folder / "data.yml").write_text("name: iris\ntype: uri_folder\npath: .\n")
    assert server.cli("data", "create", "-f", folder / "data.yml").json()["path"] == str(folder)
    assert server.cli("data", "show", "-n", "iris", "-v", "1").json()["type"] == "uri_file"
    assert server.cli("data", "show", "iris@latest", "--query", "version", "-o", "tsv").stdout == "2\n"
    assert server.cli("data", "show", "iris:1", "--query", "version").json() == "1"
    assert len(server.cli("data", "list", "-n", "iris").json()) == 2
    server.cli("data", "archive", "-n", "iris", "-v", "2")
    assert server.cli("data", "list", "-n", "iris", "--query", "[].version").json() == ["1"]
    assert len(server.cli("data", "list", "-n", "iris", "--include-archived").json()) == 2
    server.cli("data", "restore", "-n", "iris", "-v", "2")
    assert server.cli("data", "show", "-n", "iirs", check=False).returncode == 3


def test_an_environment_takes_its_conda_file_along(server):
    folder = server.folder / "environments"
    folder.mkdir()
    (folder / "conda.yml").write_text("dependencies: [python=3.11]\n")
    made = server.cli("environment", "create", "-n", "sk", "--image", "python:3.11", "--conda-file", "conda.yml", cwd=folder)
    assert made.json()["definition"]["conda_file"] == {"dependencies": ["python=3.11"]}
    assert "substituted" in made.stderr


def test_a_model_comes_back_as_it_went(server):
    folder = server.folder / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    made = server.cli("model", "create", "-n", "net", "--path", folder / "weights.bin", "--type", "custom_model", "--tags", "stage=test")
    assert made.json()["tags"] == {"stage": "test"}
    server.cli("model", "download", "-n", "net", "-v", "1", "-p", folder / "got")
    assert (folder / "got" / "net" / "weights.bin").read_bytes() == bytes(range(256))
    assert server.cli("model", "download", "-n", "net", "-p", folder / "latest").returncode == 0
    assert server.cli("model", "list", "-o", "table").stdout.splitlines()[2].split()[:3] == ["net", "1", "custom_model"]


def test_experiments_and_runs(server):
    server.cli("job", "create", "--command", "true", "--experiment-name", "trials", "-n", "one-run", "--stream")
    assert "trials" in server.cli("experiment", "list", "--query", "[].name").json()
    assert server.cli("experiment", "show", "trials").json()["name"] == "trials"
    assert server.cli("run", "list", "--experiment-name", "trials", "--query", "[].info.run_id").json() == ["one-run"]
    assert server.cli("run", "show", "one-run", "--query", "info.status", "-o", "tsv").stdout == "FINISHED\n"
    assert server.cli("run", "list", "--experiment-name", "nothing", check=False).returncode == 3
