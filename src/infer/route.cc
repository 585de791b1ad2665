#include "infer/route.h"

#include <algorithm>
#include <utility>

namespace lathe::infer {
namespace {

constexpr std::pair<std::string_view, Operation> kPlainPaths[] = {
    {"/invocations", Operation::invocations},
    {"/score", Operation::score},
    {"/v2/health/live", Operation::live},
    {"/v2/health/ready", Operation::ready},
    {"/v2", Operation::server_metadata},
    {"/v2/", Operation::server_metadata},
    {"/ping", Operation::ping},
    {"/health", Operation::ping},
    {"/version", Operation::version},
    {"/metrics", Operation::metrics},
    {"/cluster", Operation::cluster_state},
    {"/statistics", Operation::endpoint_statistics},
    {"/v2/models/stats", Operation::every_statistics},
    {"/v2/repository/index", Operation::repository_index},
};

/// What follows the model's name.
constexpr std::pair<std::string_view, Operation> kModelPaths[] = {
    {"/infer", Operation::infer},         {"/ready", Operation::model_ready},      {"", Operation::model_metadata},
    {"/config", Operation::model_config}, {"/stats", Operation::model_statistics},
};

constexpr std::pair<std::string_view, Operation> kGrpcPaths[] = {
    {"/inference.GRPCInferenceService/ModelInfer", Operation::infer},
    {"/inference.GRPCInferenceService/ModelStreamInfer", Operation::stream_infer},
    {"/inference.GRPCInferenceService/ServerLive", Operation::live},
    {"/inference.GRPCInferenceService/ServerReady", Operation::ready},
    {"/inference.GRPCInferenceService/ModelReady", Operation::model_ready},
    {"/inference.GRPCInferenceService/ServerMetadata", Operation::server_metadata},
    {"/inference.GRPCInferenceService/ModelMetadata", Operation::model_metadata},
    {"/inference.GRPCInferenceService/ModelConfig", Operation::model_config},
    {"/inference.GRPCInferenceService/ModelStatistics", Operation::model_statistics},
    {"/inference.GRPCInferenceService/RepositoryIndex", Operation::repository_index},
    {"/inference.GRPCInferenceService/RepositoryModelLoad", Operation::repository_change},
    {"/inference.GRPCInferenceService/RepositoryModelUnload", Operation::repository_change},
    {"/inference.GRPCInferenceService/LogSettings", Operation::operate},
    {"/inference.GRPCInferenceService/TraceSetting", Operation::operate},
    {"/inference.GRPCInferenceService/SystemSharedMemoryStatus", Operation::operate},
    {"/inference.GRPCInferenceService/SystemSharedMemoryRegister", Operation::operate},
    {"/inference.GRPCInferenceService/SystemSharedMemoryUnregister", Operation::operate},
    {"/inference.GRPCInferenceService/CudaSharedMemoryStatus", Operation::operate},
    {"/inference.GRPCInferenceService/CudaSharedMemoryRegister", Operation::operate},
    {"/inference.GRPCInferenceService/CudaSharedMemoryUnregister", Operation::operate},
    {"/grpc.health.v1.Health/Check", Operation::health_check},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Operation::reflection},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Operation::reflection},
};

template <class Table>
std::optional<Operation> look_up(const Table& table, std::string_view path) {
  for (const auto& [known, operation] : table)
    if (path == known) return operation;
  return std::nullopt;
}

/// Takes the text up to the next slash off the front of `rest`.
std::string_view take_segment(std::string_view& rest) {
  const auto end = std::min(rest.find('/'), rest.size());
  const auto segment = rest.substr(0, end);
  rest.remove_prefix(end);
  return segment;
}

bool take_prefix(std::string_view& rest, std::string_view prefix) {
  if (!rest.starts_with(prefix)) return false;
  rest.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::optional<Route> parse_route(std::string_view path) {
  Route route;
  if (take_prefix(path, "/endpoints/")) {
    route.endpoint = take_segment(path);
    if (route.endpoint.empty()) return std::nullopt;
  }
  if (const auto plain = look_up(kPlainPaths, path)) {
    route.operation = *plain;
    return route;
  }
  if (path.starts_with("/v2/systemsharedmemory/") || path.starts_with("/v2/cudasharedmemory/") ||
      path == "/v2/logging" || path == "/v2/trace" || path == "/v2/trace/setting" ||
      (path.starts_with("/v2/models/") && (path.ends_with("/trace/setting") || path.ends_with("/trace")))) {
    route.operation = Operation::operate;
    route.operated = path;
    return route;
  }
  if (path.starts_with("/v2/repository/models/") && (path.ends_with("/load") || path.ends_with("/unload"))) {
    route.operation = Operation::repository_change;
    return route;
  }
  if (take_prefix(path, "/v2/models/")) {
    route.model = take_segment(path);
    if (route.model.empty()) return std::nullopt;
    if (take_prefix(path, "/versions/")) {
      route.version = take_segment(path);
      if (route.version.empty()) return std::nullopt;
    }
    if (const auto operation = look_up(kModelPaths, path)) {
      route.operation = *operation;
      return route;
    }
  }
  return std::nullopt;
}

std::optional<Route> parse_grpc_route(std::string_view path) {
  const auto operation = look_up(kGrpcPaths, path);
  if (!operation) return std::nullopt;
  Route route;
  route.operation = *operation;
  if (*operation == Operation::operate) route.operated = path;
  return route;
}

}  // namespace lathe::infer
