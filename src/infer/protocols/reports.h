#pragma once

#include <string>
#include <vector>

#include "infer/catalog.h"

/// What Triton's extensions tell of models: statistics, configuration, the repository's index and metrics; as JSON and
/// as messages of proto/inference.proto.
namespace lathe::infer {

/// The server's metadata.
std::string server_json();
std::string server_message();

/// Statistics of these deployments.
std::string statistics_json(const std::vector<const Deployment*>& deployments);
std::string statistics_message(const std::vector<const Deployment*>& deployments);

/// What each deployment of an endpoint has done, in our own form, for who compares them.
std::string endpoint_statistics_json(const Endpoint& endpoint);

std::string config_json(std::string_view model_name, const Deployment& deployment);
std::string config_message(std::string_view model_name, const Deployment& deployment);

/// Each endpoint, and each of its deployments as "endpoint.deployment". `ready_only` leaves out the others.
std::string index_json(const std::vector<const Endpoint*>& endpoints, bool ready_only);
std::string index_message(const std::vector<const Endpoint*>& endpoints, bool ready_only);

/// The member "ready" of a request for the index; an empty body will do. Errors: `invalid`.
Result<bool> wants_ready_json(std::string_view body);
Result<bool> wants_ready_message(std::string_view message);

/// Prometheus' text form, under our own names and under Triton's nv_ ones.
std::string metrics_text(const Catalog& catalog);

}  // namespace lathe::infer
