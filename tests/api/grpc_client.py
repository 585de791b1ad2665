"""A gRPC client of the data plane, from classes that protoc makes of proto/ for each session."""

import pathlib
import subprocess
import sys
import tempfile

import grpc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
SERVICE = "/inference.GRPCInferenceService/"


def make_messages():
    """The modules inference_pb2 and health_pb2."""
    with tempfile.TemporaryDirectory(prefix="lathe-proto.") as folder:
        subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={folder}", *PROTO.glob("*.proto")], check=True)
        sys.path.insert(0, folder)
        try:
            import health_pb2
            import inference_pb2
        finally:
            sys.path.remove(folder)
    return inference_pb2, health_pb2


pb, health = make_messages()


class Client:
    """`call(METHOD, message)` answers the message, or raises grpc.RpcError. Sends the endpoint's key unless told not to."""

    STREAMS = ("ModelStreamInfer",)

    def __init__(self, target, key, **options):
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(target, options=limits, **options)
        self.metadata = [("authorization", f"Bearer {key}")] if key else []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.channel.close()

    def method(self, name):
        request = getattr(pb, ("ModelInfer" if name in self.STREAMS else name) + "Request")
        answer = getattr(pb, name + "Response")
        kind = self.channel.stream_stream if name in self.STREAMS else self.channel.unary_unary
        return kind(SERVICE + name, request.SerializeToString, answer.FromString)

    def call(self, name, message=None, metadata=(), **options):
        message = getattr(pb, name + "Request")() if message is None else message
        return self.method(name)(message, metadata=[*self.metadata, *metadata], timeout=options.pop("timeout", 60), **options)

    def refusal(self, name, message=None, **options):
        """The status code's name and the words of a call that must fail."""
        try:
            answer = self.call(name, message, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"{name} answered {answer}")


def tensor(name, datatype, shape, field=None, values=()):
    one = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if field:
        getattr(one.contents, field).extend(values)
    return one


def infer_request(model, inputs, raw=(), **more):
    return pb.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=raw, **more)
