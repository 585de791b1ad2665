#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

/// gRPC's server reflection (v1 and v1alpha, which differ in name alone): which services there are, and the files that
/// declare them, so that tools such as grpcurl need none of their own.
namespace lathe::infer::grpc {

/// What protoc made of proto/*.proto: a FileDescriptorSet.
extern const std::string_view kDescriptors;

/// Answers one ServerReflectionRequest; what is not found is said in the answer. Errors: `invalid` — not such a
/// request.
Result<std::string> reflect(std::string_view request);

}  // namespace lathe::infer::grpc
