// MLflow's routes, called with whatever body or query: an answer, or an error that is the client's. The first byte picks
// the route, the second a path parameter; the rest is the body, or for GET the query as lines of name=value.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>

#include "base/text.h"
#include "mlflow/mlflow.h"
#include "storage/storage.h"

using namespace lathe;

namespace {

struct Server {
  std::string folder = [] {
    char path[] = "/tmp/lathe-fuzz.XXXXXX";
    return std::string(::mkdtemp(path));
  }();
  std::unique_ptr<db::Database> database = db::open_sqlite(folder + "/lathe.db", db::migrations()).value();
  std::unique_ptr<storage::Storage> artifacts = storage::open_folder(folder + "/artifacts").value();
  http::Router router;
  std::vector<const http::Router::Entry*> entries;

  Server() {
    mlflow::add_routes(router, *database, *artifacts);
    for (const auto& entry : router.entries())
      if (!entry->upload && !entry->route.path.starts_with("/ajax-api") && !entry->route.path.starts_with("/api/3.0"))
        entries.push_back(entry.get());
  }
};

Result<http::Response> answer_of(const http::Router::Entry& entry, http::Call call) {
  if (!entry.async) return entry.plain(call);
  std::promise<Result<http::Response>> answer;
  entry.async(std::move(call), [&](Result<http::Response> result) { answer.set_value(std::move(result)); });
  return answer.get_future().get();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static Server server;
  const std::string rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto& entry = *server.entries[data[0] % server.entries.size()];
  http::Call call;
  call.method = entry.route.method;
  call.path = entry.route.path;
  call.principal = {1, "admin", http::Role::administrator, {}};
  call.headers = {{"content-type", "application/json"}};
  if (call.method == http::Method::get) {
    for (const auto line : split(rest, '\n')) {
      const auto equals = line.find('=');
      if (equals != std::string_view::npos)
        call.queries.emplace_back(std::string(line.substr(0, equals)), std::string(line.substr(equals + 1)));
    }
  } else {
    call.body = rest;
  }
  for (const auto* name : {"model_id", "key", "path", "trace_id", "assessment_id"})
    call.params.emplace_back(name, data[1] % 2 == 0 ? rest.substr(0, 40) : "m-0");
  const auto answer = answer_of(entry, std::move(call));
  if (!answer && answer.error().code == Code::internal) std::abort();
  return 0;
}
