#include "jobs/environment_routes.h"

#include <fmt/format.h>

#include <charconv>

#include "jobs/follow.h"

namespace lathe::jobs {

struct EnvironmentBuilds {
  std::vector<environments::Built> value;
};

}  // namespace lathe::jobs

namespace lathe::json {

template <>
struct Fields<jobs::EnvironmentBuilds> {
  static constexpr std::string_view name = "EnvironmentBuilds";
  static constexpr auto list = std::tuple{field("value", &jobs::EnvironmentBuilds::value, "used last first")};
};

}  // namespace lathe::json

namespace lathe::jobs {
namespace {

using environments::Built;
using environments::Environments;
using http::Call;
using http::Method;
using http::Response;
using http::Right;

constexpr auto kBuilds = "/api/v1/environment-builds";

Result<std::string> digest_of(const Call& call, const Environments& environments) {
  return environments.full_digest(std::string(call.param("digest")));
}

Result<std::uint64_t> offset_of(const Call& call) {
  const auto text = call.query("offset");
  if (!text) return 0;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || text->empty())
    return fail(Code::invalid, fmt::format("offset: must be a whole number, not \"{}\"", *text));
  return value;
}

/// A build in the words of a job, so that whoever can follow a job can follow it.
json::Value as_job(const Built& built) {
  auto out = json::to_json(built);
  out.as_object()["status"] = built.state == "ready"      ? "Completed"
                              : built.state == "failed"   ? "Failed"
                              : built.state == "building" ? "Running"
                                                          : "Queued";
  return out;
}

Followed followed(Environments& environments, Jobs& jobs, const std::string& digest) {
  Followed out;
  out.look = [&environments, digest]() -> Result<Glance> {
    LATHE_TRY(auto built, environments.show(digest));
    built.packages.clear();
    const bool ended = built.state == "ready" || built.state == "failed";
    return Glance{as_job(built), ended, environments.build_folder(digest)};
  };
  out.on_change = [&environments, digest](std::function<void()> wake) {
    return environments.on_change(digest, std::move(wake));
  };
  out.log_watch = &jobs.logs();
  return out;
}

/// Builds what the environment's newest version, or the one that `version` names, asks for.
Result<Built> build_version(assets::Assets& assets, Environments& environments, const std::string& name,
                            std::string_view version) {
  LATHE_TRY(const auto asset, assets.db().read([&](db::Connection& c) {
    return version.empty() ? find_asset_by_label(c, assets::Kind::environment, name, "latest")
                           : find_asset(c, assets::Kind::environment, name, std::string(version));
  }));
  LATHE_TRY(const auto choice,
            environments::choose(asset.definition.value_or(json::Object{}).as_object(), environments.abilities()));
  if (!choice.recipe)
    return fail(Code::conflict, fmt::format("there is nothing to build: jobs with {}:{} run in {}", asset.name,
                                            asset.version, choice.words));
  const auto digest = choice.recipe->digest();
  if (!environments.ready(digest)) environments.build(*choice.recipe, [](const auto&) {});
  return environments.show(digest);
}

}  // namespace

void add_environment_routes(http::Router& router, Jobs& jobs, assets::Assets& assets, Environments& environments) {
  const std::string builds = kBuilds;
  router.add_json({.id = "environment_build_list",
                   .method = Method::get,
                   .path = builds,
                   .right = Right::read,
                   .summary = "Environments as they were built here, with their space and last use."},
                  [&](const Call&) -> Result<EnvironmentBuilds> { return EnvironmentBuilds{environments.list()}; });
  router.add_json({.id = "environment_build_show",
                   .method = Method::get,
                   .path = builds + "/{digest}",
                   .right = Right::read,
                   .summary = "One of them, by its digest or the beginning of it, with its packages."},
                  [&](const Call& call) -> Result<Built> {
                    LATHE_TRY(const auto digest, digest_of(call, environments));
                    return environments.show(digest);
                  });
  router.add({.id = "environment_build_log",
              .method = Method::get,
              .path = builds + "/{digest}/log",
              .right = Right::read,
              .summary = "What its last build has printed so far, from offset on."},
             [&](Call& call) -> Result<Response> {
               LATHE_TRY(const auto digest, digest_of(call, environments));
               LATHE_TRY(const auto offset, offset_of(call));
               Response response;
               response.type = "text/plain; charset=utf-8";
               response.source = log_so_far(environments.build_folder(digest), offset);
               return response;
             });
  router.add({.id = "environment_build_events",
              .method = Method::get,
              .path = builds + "/{digest}/events",
              .right = Right::read,
              .summary = "Its build's log and states as they come (server-sent events), as a job's."},
             [&](Call& call) -> Result<Response> {
               LATHE_TRY(const auto digest, digest_of(call, environments));
               if (const auto last = call.header("last-event-id"); last && !call.query("offset"))
                 call.queries.emplace_back("offset", *last);
               LATHE_TRY(const auto offset, offset_of(call));
               Response response;
               response.type = "text/event-stream";
               response.source = follow(followed(environments, jobs, digest), offset);
               return response;
             });
  router.add_json({.id = "environment_build_cancel",
                   .method = Method::post,
                   .path = builds + "/{digest}/cancel",
                   .right = Right::write,
                   .summary = "Ends its build; jobs that wait for it fail."},
                  [&](const Call& call) -> Result<Built> {
                    LATHE_TRY(const auto digest, digest_of(call, environments));
                    LATHE_CHECK(environments.cancel(digest, call.principal.user));
                    return environments.show(digest);
                  });
  router.add_json({.id = "environment_build_delete",
                   .method = Method::del,
                   .path = builds + "/{digest}",
                   .right = Right::write,
                   .summary = "Frees its space; refused while a job needs it. It is built again when one asks for it."},
                  [&](const Call& call) -> Result<void> {
                    LATHE_TRY(const auto digest, digest_of(call, environments));
                    return environments.remove(digest);
                  });
  for (const bool of_version : {true, false})
    router.add_json(
        {.id = of_version ? "environment_version_build" : "environment_build",
         .method = Method::post,
         .path =
             of_version ? "/api/v1/environments/{name}/versions/{version}/build" : "/api/v1/environments/{name}/build",
         .right = Right::write,
         .summary = of_version ? "Builds a version ahead of a job." : "Builds the newest version ahead of a job."},
        [&](const Call& call) {
          return build_version(assets, environments, std::string(call.param("name")), call.param("version"));
        });
}

}  // namespace lathe::jobs
