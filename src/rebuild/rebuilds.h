#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assets/models.h"
#include "jobs/jobs.h"
#include "rebuild/compare.h"

/// A registered model made again from its triple: the job that made it is submitted again as it was, and then both
/// models are compared, file by file and by what they predict.
namespace lathe::rebuild {

/// "churn:3"
std::string name_of(const registry::Version& version);

/// One version beside its rebuild.
struct Comparison {
  std::string model;  ///< NAME:VERSION
  std::string job;    ///< that rebuilt it
  bool equal = false;
  std::string verdict;  ///< in a sentence
  std::vector<ComparedFile> files;
  std::string rows;  ///< what both models were asked: request, input_example, check or generated; empty: nothing
  std::int64_t values = 0;
  std::optional<double> greatest_difference;
  double tolerance = 0;
  std::optional<std::string> registered;  ///< NAME:VERSION of the rebuild
};

class Rebuilds {
 public:
  /// `infer`: the program lathe-infer.
  Rebuilds(assets::Models& models, jobs::Jobs& jobs, jobs::Resolvers resolvers, std::filesystem::path infer)
      : models_(models), jobs_(jobs), resolvers_(std::move(resolvers)), infer_(std::move(infer)) {}

  /// Submits the job that made the version again: same code, inputs, command, parameters and environment, by their
  /// digests; `compute` empty: the same compute, too. The new job registers nothing.
  /// Errors: `conflict`, naming the part of the triple that is gone or has changed; else as Jobs::submit.
  Result<jobs::JobAnswer> submit(const registry::Version& version, const std::string& compute,
                                 const jobs::Caller& caller);

  struct Wish {
    std::optional<serving::Request> request;  ///< rows to ask both models; else what the model has beside it
    double tolerance = kTolerance;
    bool register_equal = false;  ///< make a version of the rebuild when it is equal
  };
  /// Compares the version with what `job` made. Errors: `conflict` — the job has not ended well, or made no such model;
  /// `invalid` — it does not rebuild this version, or the model refuses the rows.
  Result<Comparison> compare(const registry::Version& version, const std::string& job, const Wish& wish,
                             const std::string& user);

 private:
  struct Origin {
    jobs::Job job;
    jobs::Plan plan;
  };
  Result<Origin> origin_of(const registry::Version& version);
  Result<json::Object> document_again(const Origin& origin, const jobs::Caller& caller);
  Result<json::Value> same_input(const jobs::Input& input, const jobs::PlannedInput& planned,
                                 const jobs::Caller& caller);
  Result<json::Value> same_environment(json::Value asked, const jobs::Plan& plan, const jobs::Caller& caller);
  Result<std::string> rebuilt_place(const registry::Version& version, const jobs::Job& job);
  Result<void> ask_both(const assets::ModelContent& original, const assets::ModelContent& rebuilt, const Wish& wish,
                        Comparison& out);
  db::Database& db() { return models_.assets().db(); }

  assets::Models& models_;
  jobs::Jobs& jobs_;
  jobs::Resolvers resolvers_;
  std::filesystem::path infer_;
};

/// /api/v1/models/NAME/versions/VERSION/rebuilds
void add_routes(http::Router& router, assets::Models& models, Rebuilds& rebuilds);

}  // namespace lathe::rebuild

namespace lathe::json {

template <>
struct Fields<rebuild::Comparison> {
  static constexpr std::string_view name = "ModelComparison";
  using T = rebuild::Comparison;
  static constexpr auto list = std::tuple{
      field("model", &T::model, "NAME:VERSION"),
      field("job", &T::job, "that rebuilt it"),
      field("equal", &T::equal, "whether both predict the same, within the tolerance"),
      field("verdict", &T::verdict, "in a sentence"),
      field("files", &T::files),
      field("rows", &T::rows, "what both were asked: request, input_example, check, generated; empty: nothing"),
      field("values", &T::values, "how many predicted values were compared"),
      field("greatest_difference", &T::greatest_difference, "between two numbers: absolute below 1, relative above"),
      field("tolerance", &T::tolerance),
      field("registered", &T::registered, "NAME:VERSION of the rebuild, if it was registered")};
};

}  // namespace lathe::json
