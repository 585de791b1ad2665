#include "infer/stats.h"

#include <gtest/gtest.h>

#include "json/json.h"

namespace lathe::infer {
namespace {

json::Object summary_of(const Stats& stats) {
  std::string text = "{";
  stats.append_summary(text);
  return json::parse_object(text + "}").value();
}

Timing of(std::chrono::nanoseconds queue, std::chrono::nanoseconds compute) {
  return {queue, {}, compute, {}};
}

TEST(Stats, TimesAreKeptToASixteenthWithTheirWaiting) {
  for (const std::int64_t us : {1, 31, 32, 33, 63, 64, 1000, 49'999, 1'000'000, 600'000'000}) {
    Stats stats;
    stats.add(200, of(std::chrono::microseconds(us - 1), std::chrono::nanoseconds(1)), 1);
    const auto summary = summary_of(stats);
    ASSERT_EQ(summary.at("latency_us").as_object().size(), 1U);
    const auto& bucket = *summary.at("latency_us").as_object().begin();
    const auto longest = std::stoll(std::string(bucket.key()));
    EXPECT_GE(longest, us);
    EXPECT_LE(longest, us + us / 16);
    EXPECT_EQ(bucket.value().as_int64(), 1);
    EXPECT_EQ(summary.at("total_us").as_int64(), us);
  }
}

TEST(Stats, ErrorsAreTheDeploymentsOwn) {
  Stats stats;
  for (const int status : {200, 400, 413, 424, 500, 503, 404}) stats.add(status, {}, 1);
  const auto summary = summary_of(stats);
  EXPECT_EQ(summary.at("requests").as_int64(), 7);
  EXPECT_EQ(summary.at("errors").as_int64(), 3);
  EXPECT_EQ(summary.at("succeeded").as_int64(), 1);
}

}  // namespace
}  // namespace lathe::infer
