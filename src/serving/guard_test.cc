#include "serving/guard.h"

#include <gtest/gtest.h>

#include "serving/traffic.h"

namespace lathe::serving {
namespace {

std::optional<std::string> judge(const std::string& guard, const Sample& sample) {
  return find_violation(parse_guard(guard).value(), sample);
}

TEST(Guard, IsConditionsOfTimesAndErrors) {
  const auto guard = parse_guard("p99<50ms, errors <= 1%,mean<0.5s");
  ASSERT_TRUE(guard) << guard.error().message;
  ASSERT_EQ(guard->size(), 3U);
  EXPECT_EQ(guard->at(0).limit, 50'000);
  EXPECT_FALSE(guard->at(0).or_equal);
  EXPECT_EQ(guard->at(1).limit, 0.01);
  EXPECT_TRUE(guard->at(1).or_equal);
  EXPECT_EQ(guard->at(2).limit, 500'000);
  for (const char* bad :
       {"", ",", "p99", "p99<", "p99<50", "p99<50%", "p99<-1ms", "p99>50ms", "errors<1", "errors<101%", "errors<1ms",
        "p98<1ms", "p99<nanms", "p99<infs", "p99<50msx", "p99<50ms,,errors<1%", "<1ms", "errors<0%", "p99<0ms"})
    EXPECT_FALSE(parse_guard(bad)) << bad;
  EXPECT_NE(parse_guard("p98<1ms").error().message.find("\"p9"), std::string::npos)
      << parse_guard("p98<1ms").error().message;
}

TEST(Guard, SaysWhatDoesNotHold) {
  // 90 in 1 ms, 9 in 10 ms, 1 in 100 ms; and 100 errors.
  const Sample sample{200, 100, 100, 280'000, {{"1000", 90}, {"10000", 9}, {"100000", 1}}};
  EXPECT_EQ(quantile_us(sample, 0.5), 1000);
  EXPECT_EQ(quantile_us(sample, 0.9), 1000);
  EXPECT_EQ(quantile_us(sample, 0.95), 10'000);
  EXPECT_EQ(quantile_us(sample, 0.99), 10'000);
  EXPECT_EQ(quantile_us(sample, 1), 100'000);
  EXPECT_FALSE(judge("p99<=10ms,mean<3ms,errors<=50%", sample));
  EXPECT_EQ(judge("p50<1s,p99<10ms", sample), "p99 was 10.0 ms over 200 requests, the guard is p99<10ms");
  EXPECT_EQ(judge("errors<50%", sample), "errors was 50.0 % over 200 requests, the guard is errors<50%");
  EXPECT_TRUE(judge("mean<2.8ms", sample));
  // Where nothing succeeded there are no times.
  EXPECT_FALSE(judge("p99<1us", {30, 0, 0, 0, {}}));
}

TEST(Guard, LooksAtWhatCameSince) {
  const Sample before{10, 1, 9, 90, {{"10", 9}}, 5};
  const Sample after{30, 1, 29, 690, {{"10", 19}, {"50", 10}}, 5};
  EXPECT_EQ(between(before, after), (Sample{20, 0, 20, 600, {{"10", 10}, {"50", 10}}, 5}));
  Sample anew = after;
  anew.began_us = 6;
  EXPECT_EQ(between(before, anew), anew) << "another data plane, which has counted more already";
}

TEST(Guard, AddsWhatSeveralDataPlanesHaveCounted) {
  const Sample first{10, 1, 9, 90, {{"10", 9}}, 5};
  const Sample second{3, 1, 2, 60, {{"10", 1}, {"50", 1}}, 6};
  EXPECT_EQ(together(first, second), (Sample{13, 2, 11, 150, {{"10", 10}, {"50", 1}}, 6}));
  EXPECT_EQ(together(Sample{}, second), second);
  EXPECT_TRUE(parse_guard("errors<=0%"));
}

TEST(Traffic, WhatIsMissingIsSharedAsItWas) {
  EXPECT_EQ(complete_traffic({{"green", 10}}, {{"blue", 100}}), (Traffic{{"blue", 90}, {"green", 10}}));
  EXPECT_EQ(complete_traffic({{"green", 10}}, {{"blue", 60}, {"green", 10}, {"red", 30}}),
            (Traffic{{"blue", 60}, {"green", 10}, {"red", 30}}));
  EXPECT_EQ(complete_traffic({{"green", 99}}, {{"blue", 50}, {"red", 50}}), (Traffic{{"blue", 1}, {"green", 99}}));
  EXPECT_EQ(complete_traffic({{"green", 100}}, {{"blue", 100}}), (Traffic{{"green", 100}}));
  EXPECT_EQ(complete_traffic({{"green", 10}}, {}), (Traffic{{"green", 10}}));
}

}  // namespace
}  // namespace lathe::serving
