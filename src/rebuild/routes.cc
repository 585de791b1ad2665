#include <cmath>

#include "rebuild/rebuilds.h"

namespace lathe::rebuild {

/// What a rebuild may differ in.
struct RebuildWish {
  std::optional<std::string> compute;
};

/// How two models are to be compared.
struct CompareWish {
  std::optional<std::string> request;
  std::optional<std::string> content_type;
  std::optional<double> tolerance;
  std::optional<bool> register_equal;
};

}  // namespace lathe::rebuild

namespace lathe::json {

template <>
struct Fields<rebuild::RebuildWish> {
  static constexpr std::string_view name = "ModelRebuild";
  static constexpr auto list =
      std::tuple{field("compute", &rebuild::RebuildWish::compute, "absent: where the job ran that made it")};
};

template <>
struct Fields<rebuild::CompareWish> {
  static constexpr std::string_view name = "ModelComparisonWish";
  using T = rebuild::CompareWish;
  static constexpr auto list =
      std::tuple{field("request", &T::request,
                       "what to ask both models, as an endpoint takes it; absent: what the model has beside it"),
                 field("content_type", &T::content_type, "of the request: application/json (default) or text/csv"),
                 field("tolerance", &T::tolerance,
                       "greatest difference of two numbers: absolute below 1, relative above; default 1e-6"),
                 field("register", &T::register_equal, "make a version of the rebuild if it is equal")};
};

}  // namespace lathe::json

namespace lathe::rebuild {
namespace {

using http::Call;
using http::Method;
using http::Right;

constexpr std::size_t kLargestRequest = std::size_t{64} << 20;

Result<registry::Version> version_of(assets::Models& models, const Call& call) {
  return models.find_version(std::string(call.param("name")), std::string(call.param("version")));
}

Result<Rebuilds::Wish> wish_of(const Call& call) {
  LATHE_TRY(auto asked, call.body_as<CompareWish>());
  Rebuilds::Wish wish;
  if (asked.request)
    wish.request = serving::Request{std::move(*asked.request), asked.content_type.value_or("application/json")};
  wish.tolerance = asked.tolerance.value_or(kTolerance);
  if (!std::isfinite(wish.tolerance) || wish.tolerance < 0)
    return fail(Code::invalid, "tolerance: must be a number from 0, where 0 asks for the very same numbers");
  wish.register_equal = asked.register_equal.value_or(false);
  return wish;
}

}  // namespace

void add_routes(http::Router& router, assets::Models& models, Rebuilds& rebuilds) {
  const std::string base = "/api/v1/models/{name}/versions/{version}/rebuilds";
  router.add_json(
      {.id = "model_rebuild",
       .method = Method::post,
       .path = base,
       .right = Right::write,
       .summary = "Submits the job that made the version again, from the same code, data and parameters.",
       .waits = true,
       .body_schema = http::schema_of<RebuildWish>},
      [&](Call& call) -> Result<jobs::JobAnswer> {
        LATHE_TRY(const auto wish, call.body_as<RebuildWish>());
        LATHE_TRY(const auto version, version_of(models, call));
        return rebuilds.submit(version, wish.compute.value_or(""), {call.principal, call.is_local()});
      },
      201);
  router.add_json({.id = "model_compare",
                   .method = Method::post,
                   .path = base + "/{job}/compare",
                   .right = Right::write,
                   .summary = "Compares the version with its rebuild: files, and predictions for the same rows.",
                   .body_limit = kLargestRequest,
                   .waits = true,
                   .body_schema = http::schema_of<CompareWish>},
                  [&](Call& call) -> Result<Comparison> {
                    LATHE_TRY(const auto wish, wish_of(call));
                    LATHE_TRY(const auto version, version_of(models, call));
                    return rebuilds.compare(version, std::string(call.param("job")), wish, call.principal.user);
                  });
}

}  // namespace lathe::rebuild
