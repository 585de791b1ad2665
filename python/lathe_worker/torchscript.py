"""TorchScript, as torch.jit.save writes it: arrays in, arrays out. Its program runs in this process alone."""

from lathe_worker.pyfunc import Predictor
from lathe_worker.signature import Signature
from lathe_worker.trouble import BadInput, CannotCompute, CannotLoad


class TorchScript(Predictor):
    def __init__(self, file):
        super().__init__(_Module(file), Signature(None))
        self.description = self._model.describe()
        self._signature.outputs = self.description["outputs"]


class _Module:
    """On the GPU where torch finds one. Fractions become the type of the module's own parameters."""

    def __init__(self, file):
        import torch

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._module = torch.jit.load(file, map_location=self._device).eval()
        except RuntimeError as error:
            raise CannotLoad("the file is no TorchScript: write it by torch.jit.save(torch.jit.script(model), FILE); what "
                             "torch.save writes needs the Python code of its classes, and a scoring script") from error
        arguments = self._module.forward.schema.arguments[1:]
        self._arguments = [each.name for each in arguments]
        self._required = [each.name for each in arguments if not each.has_default_value()]
        types = (each.dtype for each in self._module.parameters())
        self._fraction = next((each for each in types if each.is_floating_point), torch.float32)
        self._whole_are_fractions = False

    def describe(self):
        """TorchScript knows the names of its inputs; their shapes and types are only seen when it runs."""
        datatype = {"float64": "FP64", "float16": "FP16", "bfloat16": "BF16"}.get(str(self._fraction).split(".")[-1], "FP32")
        any_shape = {"datatype": datatype, "shape": [-1, -1]}
        return {"inputs": [{"name": name, **any_shape} for name in self._arguments],
                "outputs": [{"name": "OUTPUT__0", **any_shape}]}

    def predict(self, data):
        given = self._given(data)
        with self._torch.inference_mode():
            try:
                return self._plain(self._module(**self._tensors(given)))
            except RuntimeError as error:
                # JSON's 1 may have meant 1.0: what takes no whole numbers is asked once more.
                if self._whole_are_fractions or not any(each.dtype.kind in "iu" for each in given.values()):
                    raise _cannot_compute(error) from error
                self._whole_are_fractions = True
                try:
                    return self._plain(self._module(**self._tensors(given)))
                except RuntimeError as again:
                    self._whole_are_fractions = False
                    raise _cannot_compute(again) from again

    def _given(self, data):
        """{argument: array}. Inputs may also be called as Triton calls them: INPUT__0, INPUT__1..."""
        if hasattr(data, "columns"):
            data = data.to_numpy()
        if not isinstance(data, dict):
            data = {self._arguments[0] if self._arguments else "": data}
        numbered = {f"INPUT__{i}": name for i, name in enumerate(self._arguments)}
        given = {name if name in self._arguments else numbered.get(name, name): each for name, each in data.items()}
        for name in given:
            if name not in self._arguments:
                raise BadInput(f'there is no input "{name}": the model takes {self._listed()}')
        for name in self._required:
            if name not in given:
                raise BadInput(f'the input "{name}" is missing: the model takes {self._listed()}')
        for name, each in given.items():
            if each.dtype.kind not in "biuf":
                raise BadInput(f'input "{name}": expected numbers')
        return given

    def _listed(self):
        return ", ".join(f'"{name}"' for name in self._arguments) or "none"

    def _tensors(self, given):
        return {name: self._tensor(each) for name, each in given.items()}

    def _tensor(self, array):
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind == "u" and size > 1:  # which torch lacks
            array = array.astype("i8")
        tensor = self._torch.from_numpy(array if array.flags.writeable else array.copy()).to(self._device)
        return tensor.to(self._fraction) if kind == "f" or (kind in "iu" and self._whole_are_fractions) else tensor

    def _plain(self, result):
        """One tensor as an array; of several, a dict: OUTPUT__0, OUTPUT__1..."""
        if isinstance(result, self._torch.Tensor):
            result = result.detach().cpu()
            return (result.float() if result.dtype == self._torch.bfloat16 else result).numpy()
        if isinstance(result, (list, tuple)) and all(isinstance(each, self._torch.Tensor) for each in result):
            return {f"OUTPUT__{i}": self._plain(each) for i, each in enumerate(result)}
        if isinstance(result, dict):
            return {name: self._plain(each) for name, each in result.items()}
        return result


def _cannot_compute(error):
    """Torch says what was wrong in the last line, below where in the module's program it was."""
    reason = str(error).strip().split("\n")[-1].removeprefix("RuntimeError: ")
    return CannotCompute(f"the model failed on this input: {reason}")
