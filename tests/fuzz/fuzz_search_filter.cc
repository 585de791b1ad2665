// The search language: whatever comes is a plan or `invalid`, and the SQL of a plan is one that the store can prepare.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "registry/registry.h"
#include "traces/traces.h"
#include "tracking/lineage.h"
#include "tracking/search.h"

using namespace lathe;

namespace {

db::Database& store() {
  static const auto kFolder = [] {
    char path[] = "/tmp/lathe-fuzz.XXXXXX";
    return std::string(::mkdtemp(path));
  }();
  static const auto kDatabase = db::open_sqlite(kFolder + "/lathe.db", db::migrations()).value();
  return *kDatabase;
}

}  // namespace

// The first byte picks the search; a first line is the filter, the rest an order.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto line = text.find('\n');
  const auto filter = text.substr(0, line);
  std::vector<std::string> order;
  if (line != std::string::npos) order.push_back(text.substr(line + 1));
  const auto found = store().read([&](db::Connection& c) -> Result<void> {
    switch (data[0] % 6) {
      case 0: LATHE_CHECK(tracking::search_runs(c, {.experiments = {0}, .filter = filter, .order_by = order})); break;
      case 1: LATHE_CHECK(tracking::search_experiments(c, {.filter = filter, .order_by = order})); break;
      case 2: LATHE_CHECK(registry::search_models(c, {.filter = filter, .order_by = order})); break;
      case 3: LATHE_CHECK(registry::search_versions(c, {.filter = filter, .order_by = order})); break;
      case 4: LATHE_CHECK(traces::search_traces(c, {.experiments = {0}, .filter = filter, .order_by = order})); break;
      default: {
        tracking::ModelSearch search{.experiments = {0}, .filter = filter};
        for (const auto& field : order) search.order_by.push_back({.field = field});
        LATHE_CHECK(tracking::search_logged_models(c, search));
      }
    }
    return {};
  });
  if (!found && found.error().code != Code::invalid) std::abort();
  return 0;
}
