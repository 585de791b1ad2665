#include "infer/operator.h"

#include <algorithm>

#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"
#include "infer/grpc/wire.h"
#include "infer/log_settings.h"
#include "infer/shared_regions.h"
#include "infer/trace.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

using wire::Field;
using wire::Reader;

constexpr std::size_t kKeyBytes = 32;
constexpr std::string_view kLogging = "/v2/logging";
constexpr std::string_view kNoCuda =
    "CUDA's shared memory is not served here: models run on the CPU or copy their inputs; use system shared memory";

/// What is asked of which region; empty: of all.
struct Question {
  bool cuda = false;
  std::string_view verb;  ///< "status", "register" or "unregister"
  std::string region;
  std::string key;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

bool take_prefix(std::string_view& rest, std::string_view prefix) {
  if (!rest.starts_with(prefix)) return false;
  rest.remove_prefix(prefix.size());
  return true;
}

Result<std::uint64_t> size_member(const json::Object& object, std::string_view key,
                                  std::optional<std::uint64_t> absent) {
  LATHE_TRY(const auto value, json::get_int(object, key));
  if (!value && !absent) return fail(Code::invalid, "\"" + std::string(key) + "\" is missing: a number of bytes");
  if (value && *value < 0) return fail(Code::invalid, "\"" + std::string(key) + "\" must not be negative");
  return value ? static_cast<std::uint64_t>(*value) : *absent;
}

/// /v2/systemsharedmemory[/region/REGION]/VERB
Result<Question> read_rest(std::string_view path, std::string_view body) {
  const auto unknown = [whole = path] { return fail(Code::not_found, "there is nothing at " + printable(whole)); };
  Question out;
  out.cuda = take_prefix(path, "/v2/cudasharedmemory/");
  if (!out.cuda && !take_prefix(path, "/v2/systemsharedmemory/")) return unknown();
  if (take_prefix(path, "region/")) {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos || slash == 0) return unknown();
    out.region = path.substr(0, slash);
    path.remove_prefix(slash + 1);
  }
  out.verb = path;
  const bool known = path == "status" || path == "unregister" || (path == "register" && !out.region.empty());
  if (!known) return unknown();
  if (path != "register" || out.cuda) return out;
  LATHE_TRY(const auto document, json::parse_object(body));
  LATHE_TRY(out.key, json::need_string(document, "key"));
  LATHE_TRY(out.offset, size_member(document, "offset", 0));
  LATHE_TRY(out.size, size_member(document, "byte_size", std::nullopt));
  return out;
}

/// Its messages have the same numbers for the same things.
Result<Question> read_grpc(std::string_view path, std::string_view message) {
  Question out;
  out.cuda = path.find("/Cuda") != std::string_view::npos;
  out.verb = path.ends_with("Status") ? "status" : path.ends_with("Unregister") ? "unregister" : "register";
  if (out.cuda && out.verb == "register") return out;  // whose numbers differ
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number == 1) out.region = field.bytes;
    if (field.number == 2) out.key = field.bytes;
    if (field.number == 3) out.offset = field.value;
    if (field.number == 4) out.size = field.value;
  }
  if (!reader.good()) return fail(Code::invalid, "the request is not a message of the protocol");
  return out;
}

/// Those that the question is about. Errors: `not_found` — the one.
Result<std::vector<SharedRegions::Region>> asked_regions(const Question& question) {
  if (question.cuda) return std::vector<SharedRegions::Region>{};
  if (question.region.empty()) return shared_regions().list();
  auto found = shared_regions().find(question.region);
  if (!found)
    return fail(Code::not_found, "there is no region \"" + printable(question.region) + "\" of shared memory");
  std::vector<SharedRegions::Region> out;
  out.push_back(std::move(*found));
  return out;
}

std::string status_json(const std::vector<SharedRegions::Region>& regions) {
  json::Array out;
  for (const auto& each : regions)
    out.push_back(json::Object{{"name", printable(each.name)},
                               {"key", printable(each.key)},
                               {"offset", each.offset},
                               {"byte_size", each.size}});
  return json::print(std::move(out));
}

std::string status_message(const std::vector<SharedRegions::Region>& regions) {
  std::string out;
  for (const auto& each : regions) {
    std::string status;
    wire::put_text(status, 1, each.name);
    wire::put_text(status, 2, each.key);
    wire::put_number(status, 3, each.offset);
    wire::put_number(status, 4, each.size);
    std::string entry;
    wire::put_text(entry, 1, each.name);
    wire::put_bytes(entry, 2, status);
    wire::put_bytes(out, 1, entry);
  }
  return out;
}

/// The model that settings of traces are about: "ENDPOINT" or "ENDPOINT.DEPLOYMENT"; empty: all are.
Result<std::string> traced_model(const http::Request& request, std::string_view path, const Catalog& catalog) {
  std::string model;
  if (request.grpc) {
    Reader reader(request.body);
    Field field;
    while (reader.next(field))
      if (field.number == 2) model = field.bytes;
  } else if (take_prefix(path, "/v2/models/")) {
    model = path.substr(0, path.find('/'));
  }
  if (model.empty()) return model;
  const auto dot = model.rfind('.');
  const auto* endpoint = catalog.find(model);
  if (endpoint == nullptr && dot != std::string::npos) {
    endpoint = catalog.find(std::string_view(model).substr(0, dot));
    if (endpoint != nullptr && endpoint->find(std::string_view(model).substr(dot + 1)) == nullptr) endpoint = nullptr;
  }
  if (endpoint != nullptr) return model;
  return fail(Code::not_found,
              "there is no model named \"" + printable(model) + "\" here: name an endpoint, or ENDPOINT.DEPLOYMENT");
}

Result<void> operate_traces(const http::Request& request, std::string_view path, const Catalog& catalog,
                            http::Reply& reply) {
  LATHE_TRY(const auto model, traced_model(request, path, catalog));
  if (!request.grpc && path.ends_with("/trace")) {
    reply.body = traces().json(model);
    return {};
  }
  if (request.grpc) LATHE_CHECK(traces().change_by_message(model, request.body));
  if (request.method == "POST" && !request.grpc) LATHE_CHECK(traces().change(model, request.body));
  reply.body = request.grpc ? traces().settings_message(model) : traces().settings_json(model);
  return {};
}

}  // namespace

Result<KeyDigest> operator_key(const std::filesystem::path& folder) {
  const auto file = folder / "operator.key";
  LATHE_CHECK(make_folder(folder));
  auto key = read_file(file, 4096);
  if (!key || key->empty()) {
    key = random_hex(kKeyBytes);
    LATHE_CHECK(write_file(file, *key));
  }
  return digest_of(trim(*key));
}

Result<void> operate(const http::Request& request, std::string_view path, const Catalog& catalog, http::Reply& reply) {
  if (path == kLogging || path.ends_with("/LogSettings")) {
    if (request.grpc) LATHE_CHECK(change_log_by_message(request.body));
    if (request.method == "POST" && !request.grpc) LATHE_CHECK(change_log(request.body));
    reply.body = request.grpc ? log_message() : log_json();
    return {};
  }
  if (path.ends_with("/trace/setting") || path.ends_with("/trace") || path.ends_with("/TraceSetting"))
    return operate_traces(request, path, catalog, reply);
  LATHE_TRY(const auto question, request.grpc ? read_grpc(path, request.body) : read_rest(path, request.body));
  if (question.verb == "status") {
    LATHE_TRY(const auto regions, asked_regions(question));
    reply.body = request.grpc ? status_message(regions) : status_json(regions);
    return {};
  }
  if (question.verb == "register") {
    if (question.cuda) return fail(Code::invalid, std::string(kNoCuda));
    return shared_regions().add(question.region, question.key, question.offset, question.size);
  }
  if (question.cuda) return {};
  if (question.region.empty())
    shared_regions().clear();
  else
    shared_regions().remove(question.region);
  return {};
}

}  // namespace lathe::infer
