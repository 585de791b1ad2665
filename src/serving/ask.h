#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "serving/endpoint.h"

/// Predictions of models that no endpoint serves.
namespace lathe::serving {

struct Request {
  std::string body;          ///< as for an endpoint: Open Inference Protocol v2, or MLflow's forms
  std::string content_type;  ///< application/json or text/csv
};

struct Answer {
  int status = 0;  ///< 200; 422: the model cannot be loaded
  std::string body;
};

/// Open Inference Protocol's requests name a datatype for each input; MLflow's do not.
bool is_open_inference(const std::string& body);

/// Loads the models one after the other in a lathe-infer of their own, beside the one that serves others, and asks each
/// the same. Without a request they get rows of numbers that are the same every time. Blocks for at most `limit`.
/// Errors: `timeout`; `invalid` — a model ended the process; `unavailable`, `exhausted` — it cannot be started.
Result<std::vector<Answer>> ask_models(const std::filesystem::path& program, const std::vector<Spec>& models,
                                       const std::optional<Request>& request, std::chrono::seconds limit);

}  // namespace lathe::serving
