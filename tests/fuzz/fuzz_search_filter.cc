// The search language: whatever comes is a plan or `invalid`, and the SQL of a plan is one that the store can prepare.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tracking/filter.h"
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

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  tracking::RunSearch search;
  search.experiments = {0};
  search.filter = text.substr(0, line);
  if (line != std::string::npos) search.order_by = {text.substr(line + 1)};
  const auto found = store().read([&](db::Connection& c) { return tracking::search_runs(c, search); });
  if (!found && found.error().code != Code::invalid) std::abort();
  return 0;
}
