"""Says plainly what this subset of MLflow does not have."""


def explain(what):
    return (f"{what} is not in Lathe's subset of MLflow, which stands in because this job's environment has no mlflow: "
            "install mlflow there to have all of it (it logs to Lathe too)")


class Missing:
    """The last finder asked for a module mlflow.*: an import of what is not here fails with a reason."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith("mlflow."):
            raise ModuleNotFoundError(explain(name), name=name)
        return None
