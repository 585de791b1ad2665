#include "compute/compute.h"

namespace lathe::compute {

struct TargetList {
  std::vector<TargetAnswer> value;
};
struct SizeAnswer {
  std::string name;
  std::int64_t cores = 0;
  double memory_gib = 0;
  std::int64_t gpus = 0;
  std::string here;
};
struct SizeList {
  std::vector<SizeAnswer> value;
};
struct NodeList {
  std::vector<NodeAnswer> value;
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
                                          field("here", &T::here, "what a node of it gets on this machine")};
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

}  // namespace lathe::json

namespace lathe::compute {

using http::Call;
using http::Method;
using http::Right;

void add_routes(http::Router& router, Compute& compute) {
  router.add_json({.id = "compute_list", .method = Method::get, .path = "/api/v1/compute", .right = Right::read, .summary = "All compute targets."},
                  [&](const Call&) -> Result<TargetList> { return TargetList{compute.list()}; });
  router.add_json({.id = "compute_create", .method = Method::post, .path = "/api/v1/compute", .right = Right::write,
                   .summary = "Make a training cluster from an Azure amlcompute document, or update it."},
                  [&](const Call& call) -> Result<TargetAnswer> {
                    LATHE_TRY(const auto document, call.json_body());
                    return compute.create(document, call.query("strict") == "true", call.principal.user);
                  },
                  201);
  router.add_json({.id = "compute_show", .method = Method::get, .path = "/api/v1/compute/{name}", .right = Right::read,
                   .summary = "A compute target with its nodes and what they did."},
                  [&](const Call& call) { return compute.show(std::string(call.param("name"))); });
  router.add_json({.id = "compute_update", .method = Method::patch, .path = "/api/v1/compute/{name}", .right = Right::write,
                   .summary = "Change the fields that the document names."},
                  [&](const Call& call) -> Result<TargetAnswer> {
                    LATHE_TRY(const auto document, call.json_body());
                    return compute.update(std::string(call.param("name")), document);
                  });
  router.add_json({.id = "compute_delete", .method = Method::del, .path = "/api/v1/compute/{name}", .right = Right::write,
                   .summary = "Delete a cluster on which no job runs or waits."},
                  [&](const Call& call) { return compute.remove(std::string(call.param("name"))); });
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
                                           size.asked.gpus, size.given.words()});
                    return out;
                  });
}

}  // namespace lathe::compute
