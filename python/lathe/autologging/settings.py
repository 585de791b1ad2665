"""What autolog was asked to do, in MLflow's names."""

LIBRARIES = ("sklearn", "xgboost", "torch")

# Accepted since MLflow has them; they change nothing here.
_WITHOUT_EFFECT = frozenset((
    "log_datasets", "exclusive", "disable_for_unsupported_versions", "log_post_training_metrics", "pos_label",
    "serialization_format", "log_every_n_epoch", "checkpoint", "checkpoint_monitor", "log_traces",
))


class Settings:
    def __init__(self, library, log_models=True, log_model_signatures=True, log_input_examples=False,
                 registered_model_name=None, extra_tags=None, silent=False, max_tuning_runs=5, importance_types=None,
                 model_format="ubj", log_every_n_step=10, **others):
        unknown = sorted(set(others) - _WITHOUT_EFFECT)
        if unknown:
            raise TypeError(f"autolog has no option {', '.join(unknown)}")
        self.library = library
        self.log_models = log_models
        self.log_model_signatures = log_model_signatures
        self.log_input_examples = log_input_examples
        self.registered_model_name = registered_model_name
        self.extra_tags = dict(extra_tags or {})
        self.silent = silent
        self.max_tuning_runs = max_tuning_runs
        self.importance_types = ["weight"] if importance_types is None else list(importance_types)
        self.model_format = model_format
        self.log_every_n_step = max(int(log_every_n_step or 10), 1)

    def example_and_signature(self, first_rows, predict):
        """(example to keep or None, signature or False) for a model that was trained on such rows."""
        from lathe.signature import infer

        rows = first_rows() if self.log_input_examples or self.log_model_signatures else None
        signature = infer(rows, predict(rows)) if self.log_model_signatures else False
        return (rows if self.log_input_examples else None), signature
