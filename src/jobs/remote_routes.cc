#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "jobs/jobs.h"
#include "jobs/jobs_shared.h"
#include "jobs/remote.h"

/// What the nodes of remote jobs call. The attempt's own token is the only right to it, so that these routes are open
/// to all others.
namespace lathe::jobs {
namespace {

using http::Call;
using http::Method;
using http::Response;
using http::Right;

constexpr std::int64_t kVersion = 1;

Result<std::int64_t> number(std::string_view name, std::optional<std::string_view> text, std::int64_t otherwise) {
  if (!text) return otherwise;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || value < 0)
    return fail(Code::invalid, fmt::format("{}: must be a whole number, not \"{}\"", name, printable(*text)));
  return value;
}

Result<std::int64_t> query_number(const Call& call, std::string_view name) {
  const auto text = call.query(name);
  return number(name, text ? std::optional<std::string_view>(*text) : std::nullopt, 0);
}

Result<RemoteJobs::Caller> caller_of(const Call& call) {
  RemoteJobs::Caller out;
  out.attempt = call.param("attempt");
  const auto authorization = call.header("authorization").value_or("");
  if (!authorization.starts_with("Bearer ")) return fail(Code::unauthenticated, "the attempt's token is needed");
  out.token = authorization.substr(7);
  const auto node = call.param("node");
  if (!node.empty()) {
    LATHE_TRY(out.node, number("node", node, 0));
  } else {
    LATHE_TRY(out.node, query_number(call, "node"));
  }
  out.instance = call.query("instance").value_or("");
  return out;
}

Result<Response> claim(RemoteJobs& remote, const Call& call) {
  LATHE_TRY(const auto caller, caller_of(call));
  LATHE_TRY(const auto version, query_number(call, "version"));
  if (version != kVersion)
    return fail(Code::invalid, fmt::format("version: this server speaks version {} of the protocol with nodes, not {}",
                                           kVersion, version));
  RemoteNode node;
  node.instance = caller.instance;
  node.host = printable(call.query("host").value_or(""));
  node.folder = call.query("folder").value_or("");
  node.address = call.query("address").value_or("");
  node.interface = call.query("interface").value_or("");
  if (node.instance.empty() || node.host.empty() || !node.folder.starts_with('/'))
    return fail(Code::invalid, "instance, host and folder (an absolute path) are needed");
  const auto ports = call.query("ports").value_or("");
  for (const auto port : split(ports, ',')) {
    LATHE_TRY(const auto value, number("ports", port, 0));
    node.ports.push_back(static_cast<int>(value));
  }
  LATHE_TRY(const auto nodes, query_number(call, "nodes"));
  LATHE_TRY(auto manifest, remote.claim(caller, node, static_cast<std::size_t>(nodes)));
  Response response;
  response.status = manifest.empty() ? 202 : 200;
  response.type = "application/octet-stream";
  response.body = std::move(manifest);
  return response;
}

Result<Response> report(RemoteJobs& remote, const Call& call) {
  LATHE_TRY(const auto caller, caller_of(call));
  RemoteJobs::Report said;
  said.state = call.query("state").value_or("");
  LATHE_TRY(const auto log, query_number(call, "log"));
  LATHE_TRY(const auto offset, query_number(call, "offset"));
  said.log = static_cast<std::size_t>(log);
  said.offset = static_cast<std::uint64_t>(offset);
  said.bytes = call.body;
  LATHE_TRY(auto answer, remote.report(caller, said));
  return http::text_response(std::move(answer));
}

Result<Response> output(RemoteJobs& remote, const Call& call) {
  LATHE_TRY(const auto caller, caller_of(call));
  RemoteJobs::Piece piece;
  piece.path = call.param("path");
  LATHE_TRY(const auto offset, query_number(call, "offset"));
  LATHE_TRY(const auto size, query_number(call, "size"));
  piece.offset = static_cast<std::uint64_t>(offset);
  piece.size = static_cast<std::uint64_t>(size);
  piece.sha256 = call.query("sha256").value_or("");
  piece.bytes = call.body;
  LATHE_TRY(auto answer, remote.output(caller, piece));
  return http::text_response(std::move(answer));
}

}  // namespace

void add_remote_routes(http::Router& router, RemoteJobs* remote) {
  const auto add = [&](http::Route route, auto handler) {
    route.right = Right::open;
    route.in_openapi = false;
    router.add(std::move(route), [remote, handler](Call& call) -> Result<Response> {
      if (remote == nullptr) return fail(Code::unavailable, std::string(kNoEngine));
      return handler(*remote, call);
    });
  };
  const std::string base = "/api/v1/attempts/{attempt}";
  add({.id = "attempt_claim",
       .method = Method::post,
       .path = base + "/claim",
       .summary = "A node takes the attempt on.",
       .waits = true},
      claim);
  add({.id = "attempt_report",
       .method = Method::post,
       .path = base + "/nodes/{node}/report",
       .summary = "Log and signs of life."},
      report);
  add({.id = "attempt_output",
       .method = Method::post,
       .path = base + "/nodes/{node}/outputs/{path*}",
       .summary = "A piece of a file that the job left."},
      output);
  add({.id = "attempt_drop",
       .method = Method::del,
       .path = base + "/nodes/{node}/outputs/{path*}",
       .summary = "A file of the job's checkpoint is gone."},
      [](RemoteJobs& jobs, const Call& call) -> Result<Response> {
        LATHE_TRY(const auto caller, caller_of(call));
        LATHE_CHECK(jobs.drop(caller, std::string(call.param("path"))));
        return http::text_response("ok\n");
      });
  add({.id = "attempt_end",
       .method = Method::post,
       .path = base + "/nodes/{node}/end",
       .summary = "How the job ended on the node."},
      [](RemoteJobs& jobs, const Call& call) -> Result<Response> {
        LATHE_TRY(const auto caller, caller_of(call));
        LATHE_CHECK(jobs.end(caller, call.body, call.query("problem").value_or("")));
        return http::text_response("ok\n");
      });
  add({.id = "attempt_content",
       .method = Method::get,
       .path = base + "/content/{path*}",
       .summary = "A file that the manifest names."},
      [](RemoteJobs& jobs, const Call& call) -> Result<Response> {
        LATHE_TRY(const auto caller, caller_of(call));
        return jobs.content(caller, std::string(call.param("path")));
      });
  add({.id = "remote_program",
       .method = Method::get,
       .path = "/api/v1/lathe-remote/{sha256}",
       .summary = "The program that nodes run."},
      [](RemoteJobs& jobs, const Call& call) -> Result<Response> {
        return jobs.program(std::string(call.param("sha256")));
      });
}

}  // namespace lathe::jobs
