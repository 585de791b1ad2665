#include "infer/response_cache.h"

#include <gtest/gtest.h>

namespace lathe::infer {
namespace {

InferRequest request(std::vector<std::string> texts, Shape shape) {
  InferRequest out;
  out.inputs.push_back({"x", DataType::bytes, std::move(shape), {}, std::move(texts)});
  out.wanted = {0};
  return out;
}

std::vector<Tensor> outputs(std::size_t bytes) {
  return {{"y", DataType::uint8, {static_cast<std::int64_t>(bytes)}, std::vector<char>(bytes), {}}};
}

TEST(ResponseCache, TellsRequestsApart) {
  const auto key = [](std::uint64_t owner, const InferRequest& asked) { return *ResponseCache::key_of(owner, asked); };
  const auto base = request({"ab", "c"}, {2});
  EXPECT_EQ(key(1, base), key(1, request({"ab", "c"}, {2})));
  EXPECT_NE(key(1, base), key(2, base));
  EXPECT_NE(key(1, base), key(1, request({"a", "bc"}, {2})));
  EXPECT_NE(key(1, base), key(1, request({"ab", "c"}, {1, 2})));
  auto other = base;
  other.wanted = {1};
  EXPECT_NE(key(1, base), key(1, other));
  other = base;
  other.id = "7";  // not part of what is computed
  EXPECT_EQ(key(1, base), key(1, other));
}

TEST(ResponseCache, TheLeastRecentlyUsedLeave) {
  ResponseCache cache(std::size_t{100} << 10);
  const auto key = [](std::uint64_t i) { return *ResponseCache::key_of(i, {}); };
  for (std::uint64_t i = 0; i < 3; ++i) cache.put(key(i), outputs(std::size_t{30} << 10));
  ASSERT_TRUE(cache.find(key(0)));
  cache.put(key(3), outputs(std::size_t{30} << 10));
  EXPECT_FALSE(cache.find(key(1)));
  for (const std::uint64_t kept : {0, 2, 3}) EXPECT_TRUE(cache.find(key(kept))) << kept;
  cache.put(key(4), outputs(std::size_t{200} << 10));
  EXPECT_FALSE(cache.find(key(4)));
  EXPECT_TRUE(cache.find(key(0)));
}

}  // namespace
}  // namespace lathe::infer
