#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "base/ids.h"
#include "tracking/tracking.h"

namespace lathe::tracking {

/// A store in a folder of its own, for one test.
struct StoreTest : ::testing::Test {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-tracking-test-" + random_hex(4));
  std::unique_ptr<db::Database> db;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    db = db::open_sqlite((folder / "lathe.db").string(), db::migrations()).value();
  }
  void TearDown() override {
    db.reset();
    std::filesystem::remove_all(folder);
  }

  RunInfo make_run(RunSpec spec = {}) {
    if (spec.created_by.empty()) spec.created_by = "ann";
    return db->write([&](db::Connection& c) { return create_run(c, spec); }).value().info;
  }
  Result<void> log(const RunInfo& run, const std::vector<Metric>& metrics) {
    return db->write([&](db::Connection& c) { return log_metrics(c, run, metrics); });
  }
  tracking::Run load(const std::string& run_id) {
    return db->read([&](db::Connection& c) { return load_run(c, run_id); }).value();
  }
};

}  // namespace lathe::tracking
