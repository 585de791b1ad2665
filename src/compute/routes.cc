#include <fmt/format.h>

#include "base/text.h"
#include "compute/compute.h"

namespace lathe::compute {

struct TargetList {
  std::vector<TargetAnswer> value;
};
struct SizeAnswer {
  std::string name;
  std::int64_t cores = 0;
  double memory_gib = 0;
  double gpus = 0;
  std::string here;
  std::string from;
};
struct SizeList {
  std::vector<SizeAnswer> value;
};
struct NodeList {
  std::vector<NodeAnswer> value;
};
struct UsageList {
  std::vector<UsageAnswer> value;
};
struct GpuList {
  std::vector<GpuAnswer> value;
  std::string source;
};

}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::TargetList> {
  static constexpr std::string_view name = "ComputeList";
  static constexpr auto list = std::tuple{field("value", &compute::TargetList::value)};
};
template <>
struct Fields<compute::SizeAnswer> {
  static constexpr std::string_view name = "ComputeSize";
  using T = compute::SizeAnswer;
  static constexpr auto list = std::tuple{field("name", &T::name), field("cores", &T::cores, "what the name stands for"),
                                          field("memory_gib", &T::memory_gib), field("gpus", &T::gpus),
                                          field("here", &T::here, "what a node of it gets on this machine at most"),
                                          field("from", &T::from, "machine, administrator or azure")};
};
template <>
struct Fields<compute::SizeList> {
  static constexpr std::string_view name = "ComputeSizeList";
  static constexpr auto list = std::tuple{field("value", &compute::SizeList::value)};
};
template <>
struct Fields<compute::NodeList> {
  static constexpr std::string_view name = "NodeList";
  static constexpr auto list = std::tuple{field("value", &compute::NodeList::value)};
};

template <>
struct Fields<compute::UsageList> {
  static constexpr std::string_view name = "ComputeUsageList";
  static constexpr auto list = std::tuple{field("value", &compute::UsageList::value)};
};
template <>
struct Fields<compute::GpuList> {
  static constexpr std::string_view name = "GpuList";
  static constexpr auto list = std::tuple{field("value", &compute::GpuList::value), field("source", &compute::GpuList::source, "where the list comes from")};
};

}  // namespace lathe::json

namespace lathe::compute {

using http::Call;
using http::Method;
using http::Right;

namespace {

std::string from_words(Size::From from) {
  switch (from) {
    case Size::From::machine: return "machine";
    case Size::From::administrator: return "administrator";
    case Size::From::azure: break;
  }
  return "azure";
}

/// A compute instance is one person's machine. Errors: `forbidden`, `not_found`.
Result<void> may_change(const Compute& compute, const std::string& name, const http::Principal& who) {
  LATHE_TRY(auto target, compute.show(name));
  if (target.type != "computeinstance" || who.is_administrator()) return {};
  const auto owner = target.creation_context.value_or(std::map<std::string, std::string>{})["created_by"];
  if (owner == who.user) return {};
  return fail(Code::forbidden, fmt::format("{} is the compute instance of {}: only {} or an administrator may change it",
                                           name, owner, owner));
}

void add_instance_routes(http::Router& router, Compute& compute) {
  struct Verb {
    const char* id;
    const char* path;
    const char* summary;
    Compute::Operation operation;
  };
  static constexpr Verb kVerbs[] = {
      {"compute_start", "/api/v1/compute/{name}/start", "Start a compute instance, as soon as there is room for it.", Compute::Operation::start},
      {"compute_stop", "/api/v1/compute/{name}/stop", "Stop a compute instance, and end what runs on it.", Compute::Operation::stop},
      {"compute_restart", "/api/v1/compute/{name}/restart", "Stop a compute instance and start it again.", Compute::Operation::restart}};
  for (const auto& verb : kVerbs)
    router.add_json({.id = verb.id, .method = Method::post, .path = verb.path, .right = Right::write, .summary = verb.summary},
                    [&compute, operation = verb.operation](const Call& call) -> Result<TargetAnswer> {
                      const std::string name(call.param("name"));
                      LATHE_CHECK(may_change(compute, name, call.principal));
                      return compute.operate(name, operation);
                    });
}

}  // namespace

void add_routes(http::Router& router, Compute& compute) {
  add_instance_routes(router, compute);
  router.add_json({.id = "compute_list", .method = Method::get, .path = "/api/v1/compute", .right = Right::read, .summary = "All compute targets, or those of one type."},
                  [&](const Call& call) -> Result<TargetList> {
                    TargetList out{compute.list()};
                    if (const auto type = to_lower(call.query("type").value_or("")); !type.empty())
                      std::erase_if(out.value, [&](const TargetAnswer& target) { return target.type != type; });
                    return out;
                  });
  router.add_json({.id = "compute_create", .method = Method::post, .path = "/api/v1/compute", .right = Right::write,
                   .summary = "Make a training cluster or a compute instance from an Azure document, or update it."},
                  [&](const Call& call) -> Result<TargetAnswer> {
                    LATHE_TRY(const auto document, call.json_body());
                    LATHE_TRY(const auto name, json::get_string(document, "name"));
                    if (name && compute.check_target(*name)) LATHE_CHECK(may_change(compute, *name, call.principal));
                    return compute.create(document, call.query("strict") == "true", call.principal.user);
                  },
                  201);
  router.add_json({.id = "compute_show", .method = Method::get, .path = "/api/v1/compute/{name}", .right = Right::read,
                   .summary = "A compute target with its nodes and what they did."},
                  [&](const Call& call) { return compute.show(std::string(call.param("name"))); });
  router.add_json({.id = "compute_update", .method = Method::patch, .path = "/api/v1/compute/{name}", .right = Right::write,
                   .summary = "Change the fields that the document names."},
                  [&](const Call& call) -> Result<TargetAnswer> {
                    const std::string name(call.param("name"));
                    LATHE_CHECK(may_change(compute, name, call.principal));
                    LATHE_TRY(const auto document, call.json_body());
                    return compute.update(name, document);
                  });
  router.add_json({.id = "compute_delete", .method = Method::del, .path = "/api/v1/compute/{name}", .right = Right::write,
                   .summary = "Delete a target on which no job runs or waits."},
                  [&](const Call& call) -> Result<void> {
                    const std::string name(call.param("name"));
                    LATHE_CHECK(may_change(compute, name, call.principal));
                    return compute.remove(name);
                  });
  router.add_json({.id = "compute_nodes", .method = Method::get, .path = "/api/v1/compute/{name}/nodes", .right = Right::read,
                   .summary = "The nodes of a cluster."},
                  [&](const Call& call) -> Result<NodeList> {
                    LATHE_TRY(auto target, compute.show(std::string(call.param("name"))));
                    return NodeList{std::move(target.nodes)};
                  });
  router.add_json({.id = "compute_sizes", .method = Method::get, .path = "/api/v1/compute-sizes", .right = Right::read,
                   .summary = "The sizes that nodes may have, and what they get on this machine."},
                  [&](const Call&) -> Result<SizeList> {
                    SizeList out;
                    for (const auto& size : compute.list_sizes())
                      out.value.push_back({size.name, size.asked.cores, static_cast<double>(size.asked.memory_bytes) / static_cast<double>(1 << 30),
                                           size.asked.gpu_count(), size.given.words(), from_words(size.from)});
                    return out;
                  });
  router.add_json({.id = "compute_usage", .method = Method::get, .path = "/api/v1/compute-usage", .right = Right::read,
                   .summary = "Who has how much of this machine's cores, memory and GPUs."},
                  [&](const Call&) -> Result<UsageList> { return UsageList{compute.usage()}; });
  router.add_json({.id = "compute_gpus", .method = Method::get, .path = "/api/v1/compute-gpus", .right = Right::read,
                   .summary = "This machine's GPUs, and who has them."},
                  [&](const Call&) -> Result<GpuList> { return GpuList{compute.gpus(), compute.inventory().source()}; });
}

}  // namespace lathe::compute
