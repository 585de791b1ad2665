#include "infer/capture/capture.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "base/ids.h"
#include "infer/capture/capture_writer.h"
#include "infer/capture/records.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

Tensor floats(std::string name, Shape shape, const std::vector<float>& values) {
  Tensor out{std::move(name), DataType::fp32, std::move(shape), {}, {}};
  const auto* const bytes = reinterpret_cast<const char*>(values.data());
  out.data.assign(bytes, bytes + values.size() * sizeof(float));
  return out;
}

Tensor texts(std::string name, Shape shape, std::vector<std::string> values) {
  return {std::move(name), DataType::bytes, std::move(shape), {}, std::move(values)};
}

std::string records(const std::vector<Tensor>& tensors, const std::vector<std::string>& columns = {}) {
  std::string out;
  append_records(out, tensors, columns);
  return out;
}

class Named : public Model {
 public:
  std::string_view platform() const override { return "test"; }
  const std::vector<TensorInfo>& inputs() const override { return none_; }
  const std::vector<TensorInfo>& outputs() const override { return none_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return true; }
  Result<void> run(std::span<const Tensor>, std::span<const std::size_t>, std::vector<Tensor>&) const override {
    return {};
  }

 private:
  std::vector<TensorInfo> none_;
  std::vector<std::string> columns_{"age", "income"};
};

class CaptureTest : public ::testing::Test {
 protected:
  CaptureTest() { options_.folder = folder_; }
  ~CaptureTest() override { fs::remove_all(folder_); }

  static DesiredDeployment desired(std::vector<DesiredCollection> collections) {
    DesiredDeployment out;
    out.name = "blue";
    out.model.name = "m";
    out.model.version = "3";
    out.capture = DesiredCapture{std::move(collections), "hour", {"x-tenant"}};
    return out;
  }

  /// The lines of all files below the collection, in no order.
  std::vector<json::Object> lines(const std::string& collection) const {
    std::vector<json::Object> out;
    const auto folder = folder_ / "e" / "blue" / collection;
    if (!fs::exists(folder)) return out;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) out.push_back(*json::parse_object(line));
    }
    return out;
  }

  const fs::path folder_ = fs::temp_directory_path() / ("lathe-capture-" + random_hex(8));
  const std::shared_ptr<const Model> model_ = std::make_shared<Named>();
  CaptureOptions options_;
  http::Request request_;
};

TEST(Records, RowsOfOneMatrixHaveTheModelsColumns) {
  const auto x = floats("x", {2, 2}, {1, 2.5F, 3, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(records({x}, {"age", "income"}), R"([{"age":1,"income":2.5},{"age":3,"income":null}])");
  EXPECT_EQ(records({x}), R"([{"x":[1,2.5]},{"x":[3,null]}])");
}

TEST(Records, TensorsShareTheirRows) {
  EXPECT_EQ(records({floats("a", {2}, {1, 2}), floats("b", {2, 1}, {3, 4}), texts("t", {2}, {"x\"", "\xff"})}),
            "[{\"a\":1,\"b\":3,\"t\":\"x\\\"\"},{\"a\":2,\"b\":4,\"t\":\"\xEF\xBF\xBD\"}]");
  EXPECT_EQ(records({floats("a", {1, 2, 2}, {1, 2, 3, 4})}), R"([{"a":[[1,2],[3,4]]}])");
}

TEST(Records, TensorsWithoutCommonRowsAreOneRecord) {
  EXPECT_EQ(records({floats("a", {2}, {1, 2}), floats("b", {}, {3})}), R"([{"a":[1,2],"b":3}])");
  EXPECT_EQ(records({floats("a", {0, 2}, {})}), "[]");
  EXPECT_EQ(records({floats("a", {2, 0}, {})}), R"([{"a":[]},{"a":[]}])");
  EXPECT_EQ(records({}), "[]");
}

TEST(Records, BodiesKeepTheirFormAndDataFramesBecomeRecords) {
  const auto json_of = [](const std::string& data) { return R"("datacontenttype":"application/json","data":)" + data; };
  EXPECT_EQ(body_members(R"({"dataframe_split":{"columns":["a",1],"data":[[1,"x"],[2,null]]}})"),
            json_of(R"([{"a":1,"1":"x"},{"a":2,"1":null}])"));
  EXPECT_EQ(body_members(R"({"input_data":{"columns":["a"],"index":[0],"data":[[1]]}})"), json_of(R"([{"a":1}])"));
  EXPECT_EQ(body_members(R"({"dataframe_records":[{"a":1}]})"), json_of(R"([{"a":1}])"));
  EXPECT_EQ(body_members(R"({"predictions":[0.5,1.5]})"), json_of(R"([{"predict":0.5},{"predict":1.5}])"));
  EXPECT_EQ(body_members(R"({"dataframe_split":{"columns":["a"],"data":[[1,2]]}})"), json_of("[[1,2]]"));
  EXPECT_EQ(body_members("{\"a\":\r\n[123456789012345678901234567890,1.10]}"),
            json_of(R"({"a":  [123456789012345678901234567890,1.10]})"));  // as it was written
  EXPECT_EQ(body_members("a,b\n"), R"("datacontenttype":"text/plain","data":"a,b\u000a")");
  EXPECT_EQ(body_members("\xff\xfe"), R"("datacontenttype":"application/octet-stream","data_base64":"//4=")");
}

TEST_F(CaptureTest, BothSidesOfAPredictionAreLinesOfTheSameCorrelation) {
  request_.headers = {{"X-Request-ID", "r-1"}, {"x-tenant", "acme"}, {"authorization", "Bearer secret"}};
  CaptureWriter writer;
  writer.start(options_);
  const auto capture = writer.open("e", desired({{"model_inputs", 1}, {"model_outputs", 1}}));
  capture->take(request_, model_, {floats("x", {1, 2}, {31, 2})}, {floats("predict", {1}, {0.5F})});
  writer.finish();

  const auto inputs = lines("model_inputs");
  const auto outputs = lines("model_outputs");
  ASSERT_EQ(inputs.size(), 1U);
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(json::print(inputs[0].at("data")), R"([{"age":31,"income":2}])");
  EXPECT_EQ(json::print(outputs[0].at("data")), R"([{"predict":0.5}])");
  EXPECT_EQ(inputs[0].at("correlationid"), outputs[0].at("correlationid"));
  EXPECT_NE(inputs[0].at("id"), outputs[0].at("id"));
  EXPECT_EQ(inputs[0].at("xrequestid").as_string(), "r-1");
  EXPECT_EQ(json::print(inputs[0].at("headers")), R"({"x-tenant":"acme"})");
  EXPECT_EQ(inputs[0].at("deployment").as_string(), "blue");
  EXPECT_EQ(inputs[0].at("modelversion").as_string(), "3");
  EXPECT_EQ(capture->counts->written, 2U);
  EXPECT_EQ(capture->counts->dropped, 0U);
}

TEST_F(CaptureTest, SamplingIsExactToAFewAndKeepsPredictionsWhole) {
  CaptureWriter writer;
  writer.start(options_);
  const auto capture = writer.open("e", desired({{"model_inputs", 0.5}, {"model_outputs", 0.1}, {"other", 0}}));
  for (int i = 0; i < 1000; ++i) capture->take(request_, model_, {floats("x", {1, 2}, {1, 2})}, {});
  writer.finish();

  std::set<std::string> kept;
  for (const auto& line : lines("model_inputs")) kept.insert(std::string(line.at("correlationid").as_string()));
  EXPECT_NEAR(static_cast<double>(kept.size()), 500, 3);
  const auto outputs = lines("model_outputs");
  EXPECT_NEAR(static_cast<double>(outputs.size()), 100, 3);
  for (const auto& line : outputs) EXPECT_TRUE(kept.contains(std::string(line.at("correlationid").as_string())));
  EXPECT_TRUE(lines("other").empty());
}

TEST_F(CaptureTest, WhatIsTooLargeIsDescribed) {
  CaptureWriter writer;
  writer.start(options_);
  const auto capture = writer.open("e", desired({{"model_inputs", 1}}));
  const std::int64_t count = Capture::kMostBytes / sizeof(float) + 1;
  capture->take(request_, model_, {floats("x", {1, count}, std::vector<float>(static_cast<std::size_t>(count)))}, {});
  capture->take_bodies(request_, model_, "");
  writer.finish();
  const auto found = lines("model_inputs");
  ASSERT_EQ(found.size(), 2U);
  const auto& omitted = found[found[0].contains("omitted") ? 0 : 1];
  EXPECT_EQ(json::print(omitted.at("data")), "[]");
  EXPECT_EQ(json::print(omitted.at("omitted")), R"([{"name":"x","datatype":"FP32","shape":[1,)" +
                                                    std::to_string(count) + R"(],"bytes":)" +
                                                    std::to_string(count * 4) + "}]");
}

TEST_F(CaptureTest, WhatDoesNotFitIntoTheQueueIsCounted) {
  options_.waiting_bytes = 100;  // no prediction is that small
  CaptureWriter writer;
  writer.start(options_);
  const auto capture = writer.open("e", desired({{"model_inputs", 1}, {"model_outputs", 1}}));
  capture->take(request_, model_, {}, {});
  writer.finish();
  EXPECT_TRUE(lines("model_inputs").empty());
  EXPECT_EQ(capture->counts->dropped, 2U);
}

TEST_F(CaptureTest, ADiskThatIsNearlyFullGetsNothing) {
  options_.reserve_bytes = std::numeric_limits<std::uint64_t>::max();
  CaptureWriter writer;
  writer.start(options_);
  const auto capture = writer.open("e", desired({{"model_inputs", 1}}));
  capture->take(request_, model_, {}, {});
  writer.finish();
  EXPECT_TRUE(lines("model_inputs").empty());
  EXPECT_EQ(capture->counts->dropped, 1U);
}

TEST_F(CaptureTest, WhatAKilledProcessLeftIsFoundButForItsTornLine) {
  const auto open = folder_ / ".open";
  fs::create_directories(open);
  std::ofstream(open / "e.blue.model_inputs.2026-11-26-17.0123.jsonl") << "{\"n\":1}\n{\"n\":2}\n{\"n\":";
  std::ofstream(open / "e.blue.model_outputs.2026-11-26-17.0124.jsonl") << "{\"torn";
  std::ofstream(open / "stranger") << "x\n";
  CaptureWriter writer;
  writer.start(options_);
  EXPECT_EQ(lines("model_inputs").size(), 2U);
  EXPECT_TRUE(fs::exists(folder_ / "e/blue/model_inputs/2026/11/26/17/0123.jsonl"));
  EXPECT_TRUE(lines("model_outputs").empty());
  EXPECT_FALSE(fs::exists(open / "e.blue.model_outputs.2026-11-26-17.0124.jsonl"));
  EXPECT_TRUE(fs::exists(open / "stranger"));
}

TEST_F(CaptureTest, SettingsThatStayKeepTheCountAndTheTurn) {
  CaptureWriter writer;
  EXPECT_EQ(writer.open("e", desired({{"model_inputs", 1}})), nullptr);  // not begun
  writer.start(options_);
  const auto first = writer.open("e", desired({{"model_inputs", 1}}));
  EXPECT_EQ(writer.open("e", desired({{"model_inputs", 1}})), first);
  const auto other = writer.open("e", desired({{"model_inputs", 0.5}}));
  EXPECT_NE(other, first);
  EXPECT_EQ(other->counts, first->counts);
  EXPECT_EQ(writer.open("e", DesiredDeployment{}), nullptr);
}

}  // namespace
}  // namespace lathe::infer
