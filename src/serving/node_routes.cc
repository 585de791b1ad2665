#include <charconv>

#include "assets/file_response.h"
#include "base/text.h"
#include "serving/nodes.h"

namespace lathe::serving {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

/// Who asks: a node, by its own token.
Result<std::string> node_of(const Nodes& nodes, const Call& call) {
  constexpr std::string_view kScheme = "Bearer ";
  const auto given = call.header("authorization").value_or("");
  if (!given.starts_with(kScheme))
    return fail(Code::unauthenticated,
                "the token of an inference node is needed: 'lathe inference-node create' makes one");
  return nodes.authenticate(given.substr(kScheme.size()));
}

Result<std::uint64_t> number(const Call& call, std::string_view name) {
  const auto text = call.query(name).value_or("");
  std::uint64_t out = 0;
  const auto* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, out);
  if (error == std::errc{} && stopped == end) return out;
  return fail(Code::invalid, std::string(name) + ": must be a whole number of bytes, not \"" + printable(text) + "\"");
}

}  // namespace

void add_routes(http::Router& router, Nodes& nodes) {
  const std::string base = "/api/v1/inference-nodes";
  const auto name_of = [](const Call& call) { return std::string(call.param("name")); };
  router.add_json(
      {.id = "inference_node_create",
       .method = Method::post,
       .path = base,
       .right = Right::administer,
       .summary = "Makes a node of the inference cluster with its token, which is shown once."},
      [&nodes](Call& call) -> Result<NodeView> {
        LATHE_TRY(const auto body, call.json_body());
        for (const auto& member : body)
          if (member.key() != "name")
            return fail(Code::invalid, unknown_name("field", std::string(member.key()), {"name"}));
        LATHE_TRY(const auto name, json::need_string(body, "name"));
        return nodes.create(name, call.principal.user);
      },
      201);
  router.add({.id = "inference_node_list",
              .method = Method::get,
              .path = base,
              .right = Right::read,
              .summary = "The nodes of the inference cluster, and what each serves."},
             [&nodes](Call&) -> Result<Response> {
               return http::json_response(json::Object{{"value", json::to_json(nodes.all())}});
             });
  router.add_json({.id = "inference_node_show",
                   .method = Method::get,
                   .path = base + "/{name}",
                   .right = Right::read,
                   .summary = "One node of the inference cluster."},
                  [&nodes, name_of](Call& call) { return nodes.find(name_of(call)); });
  router.add_json({.id = "inference_node_delete",
                   .method = Method::del,
                   .path = base + "/{name}",
                   .right = Right::administer,
                   .summary = "Revokes a node's token: it stops answering, and others send it nothing more."},
                  [&nodes, name_of](Call& call) { return nodes.remove(name_of(call), call.principal.user); });

  // A node's own: its token opens these three.
  router.add({.id = "inference_node_sync",
              .method = Method::post,
              .path = "/api/v1/inference-node/sync",
              .right = Right::open,
              .summary = "A node says how it is and learns what to serve.",
              .in_openapi = false},
             [&nodes](Call& call) -> Result<Response> {
               LATHE_TRY(const auto name, node_of(nodes, call));
               LATHE_TRY(const auto said, call.json_body());
               LATHE_TRY(auto answer, nodes.sync(name, said, std::string(call.header("host").value_or(""))));
               return http::json_response(std::move(answer));
             });
  router.add({.id = "inference_node_file",
              .method = Method::get,
              .path = "/api/v1/inference-node/files/{sha256}",
              .right = Right::open,
              .summary = "A file of a model that a node is to serve.",
              .in_openapi = false},
             [&nodes](Call& call) -> Result<Response> {
               LATHE_CHECK(node_of(nodes, call));
               LATHE_TRY(const auto path, nodes.file(std::string(call.param("sha256"))));
               return assets::file_response(path, std::string(call.param("sha256")), call.header("range"));
             });
  router.add({.id = "inference_node_captured",
              .method = Method::post,
              .path = "/api/v1/inference-node/captured",
              .right = Right::open,
              .summary = "A piece of a file in which a node has kept predictions.",
              .in_openapi = false},
             [&nodes](Call& call) -> Result<Response> {
               LATHE_TRY(const auto name, node_of(nodes, call));
               // Not what a page of another site can send.
               if (call.header("content-type") != "application/octet-stream")
                 return fail(Code::unsupported_media, "send the piece as Content-Type: application/octet-stream");
               CapturedPiece piece{call.query("path").value_or(""), call.query("sha256").value_or(""), 0, 0, call.body};
               LATHE_TRY(piece.size, number(call, "size"));
               LATHE_TRY(piece.offset, number(call, "offset"));
               LATHE_TRY(const auto have, nodes.captured().take(name, piece));
               return http::json_response(json::Object{{"have", have}});
             });
}

}  // namespace lathe::serving
