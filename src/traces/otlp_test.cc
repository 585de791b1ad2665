#include "traces/otlp.h"

#include <gtest/gtest.h>
#include <zlib.h>

namespace lathe::traces {
namespace {

// protobuf's wire format by hand: what these tests hold against the reader.
std::string number(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>((value & 127) | 128);
  return out + static_cast<char>(value);
}
std::string field(std::uint32_t number_, const std::string& bytes) {
  return number(number_ << 3 | 2) + number(bytes.size()) + bytes;
}
std::string varint_field(std::uint32_t number_, std::uint64_t value) {
  return number(number_ << 3) + number(value);
}
std::string fixed_field(std::uint32_t number_, std::uint64_t value) {
  std::string out = number(number_ << 3 | 1);
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i) & 255);
  return out;
}
std::string attribute(const std::string& key, const std::string& any_value) {
  return field(1, key) + field(2, any_value);
}
const std::string kTrace = "0123456789abcdef";
std::string span(const std::string& rest = "", const std::string& id = "spanspan") {
  return field(1, kTrace) + field(2, id) + field(5, "work") + fixed_field(7, 1'000'000'000) +
         fixed_field(8, 3'000'000'000) + rest;
}
std::string request(const std::string& spans) {
  return field(1, field(2, spans));
}
Result<std::vector<Span>> read(const std::string& span_) {
  return read_otlp_protobuf(request(field(2, span_)));
}
std::string refusal(const std::string& body) {
  const auto spans = read_otlp_protobuf(body);
  return spans ? "" : spans.error().code == Code::invalid ? spans.error().message : "another code";
}
json::Object content(const Span& span) {
  return json::parse_object(span.content).value();
}
std::string dumped(const Span& span, std::string_view key) {
  return std::string(json::view(content(span)["attributes"].as_object().at(key).as_string()));
}

TEST(Otlp, ASpanIsReadFromProtobuf) {
  const auto spans = read(span(field(4, "parentid") + field(15, varint_field(3, 2) + field(2, "broken"))));
  ASSERT_TRUE(spans) << spans.error().message;
  ASSERT_EQ(spans->size(), 1u);
  const auto& one = spans->at(0);
  EXPECT_EQ(one.trace_id, "tr-30313233343536373839616263646566");
  EXPECT_EQ(one.id, "7370616e7370616e");
  EXPECT_EQ(one.parent_id, "706172656e746964");
  EXPECT_EQ(one.name, "work");
  EXPECT_EQ(one.status, "ERROR");
  EXPECT_EQ(one.start_ns, 1'000'000'000);
  EXPECT_EQ(one.end_ns, 3'000'000'000);
  EXPECT_EQ(content(one)["status"], (json::Value{{"code", "STATUS_CODE_ERROR"}, {"message", "broken"}}));
  EXPECT_EQ(content(one)["trace_id"].as_string(), "MDEyMzQ1Njc4OWFiY2RlZg==");
}

TEST(Otlp, AttributesOfEveryKindAreKeptAsTheTextOfTheirJson) {
  const auto list = field(5, field(1, varint_field(3, 1)) + field(1, varint_field(2, 1)));
  const auto object = field(6, field(1, attribute("a", field(1, "é"))));
  const auto spans =
      read(span(field(9, attribute("text", field(1, "a \"b\""))) + field(9, attribute("true", varint_field(2, 1))) +
                field(9, attribute("int", varint_field(3, static_cast<std::uint64_t>(-5)))) +
                field(9, attribute("double", fixed_field(4, 0x3FF8000000000000))) + field(9, attribute("list", list)) +
                field(9, attribute("object", object)) +
                field(9, attribute("bytes", field(7, std::string("\x00\xff", 2)))) + field(9, attribute("none", ""))));
  ASSERT_TRUE(spans) << spans.error().message;
  const auto& one = spans->at(0);
  EXPECT_EQ(dumped(one, "text"), R"("a \"b\"")");
  EXPECT_EQ(dumped(one, "true"), "true");
  EXPECT_EQ(dumped(one, "int"), "-5");
  EXPECT_EQ(dumped(one, "double"), "1.5");
  EXPECT_EQ(dumped(one, "list"), "[1,true]");
  EXPECT_EQ(dumped(one, "object"), R"({"a":"é"})");
  EXPECT_EQ(dumped(one, "bytes"), R"("AP8=")");
  EXPECT_EQ(dumped(one, "none"), "null");
  EXPECT_EQ(dumped(one, "mlflow.traceRequestId"), "\"" + one.trace_id + "\"");
}

TEST(Otlp, ASpanComesBackAsItWasSent) {
  const auto object = field(6, field(1, attribute("a", varint_field(3, 7))));
  const auto event = fixed_field(1, 5) + field(2, "tick") + field(3, attribute("n", varint_field(3, 1)));
  const auto link = field(1, kTrace) + field(2, "otherone") + field(4, attribute("k", field(1, "v")));
  const auto spans = read(span(field(9, attribute("in", object)) + field(11, event) + field(13, link)));
  ASSERT_TRUE(spans) << spans.error().message;
  const auto out = otlp_of(spans->at(0).content);
  const json::Value seven{{"key", "a"}, {"value", {{"int_value", 7}}}};
  EXPECT_EQ(out.at("attributes").as_array().back(),
            (json::Value{{"key", "in"}, {"value", {{"kvlist_value", {{"values", json::Array{seven}}}}}}}));
  EXPECT_EQ(out.at("events").as_array().at(0).as_object().at("name").as_string(), "tick");
  EXPECT_EQ(out.at("links").as_array().at(0).as_object().at("span_id").as_string(), "b3RoZXJvbmU=");
  EXPECT_EQ(out.at("start_time_unix_nano").as_int64(), 1'000'000'000);
}

TEST(Otlp, JsonSaysTheSameAsProtobuf) {
  const auto by_protobuf =
      read(span(field(9, attribute("in", field(6, field(1, attribute("a", varint_field(3, 7))))))));
  const auto by_json = read_otlp_json(
      R"({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "30313233343536373839616263646566",
          "spanId": "7370616E7370616E", "name": "work", "startTimeUnixNano": "1000000000", "endTimeUnixNano": 3000000000,
          "attributes": [{"key": "in", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "7"}}]}}}],
          "unknown": 1}]}]}]})");
  ASSERT_TRUE(by_protobuf && by_json) << by_json.error().message;
  EXPECT_EQ(by_json->at(0).content, by_protobuf->at(0).content);
  EXPECT_EQ(by_json->at(0).id, by_protobuf->at(0).id);
}

TEST(Otlp, ARootGivesItsTraceWhatMlflowLooksFor) {
  const auto spans = read(span(field(9, attribute("mlflow.spanInputs", field(1, std::string(2000, 'x')))) +
                               field(9, attribute("mlflow.spanType", field(1, "LLM"))) +
                               field(9, attribute("mlflow.trace.session", field(1, "s-1"))) +
                               field(9, attribute("mlflow.chat.tokenUsage",
                                                  field(6, field(1, attribute("input_tokens", varint_field(3, 3))))))));
  ASSERT_TRUE(spans);
  EXPECT_EQ(spans->at(0).request_preview.size(), 1000u);
  EXPECT_EQ(spans->at(0).type, "LLM");
  EXPECT_EQ(spans->at(0).session, "s-1");
  EXPECT_EQ(spans->at(0).usage, R"({"input_tokens":3})");
}

TEST(Otlp, WhatIsNoRequestIsRefused) {
  const auto good = request(field(2, span()));
  for (std::size_t size = 1; size < good.size(); ++size) EXPECT_NE(refusal(good.substr(0, size)), "") << size;
  EXPECT_NE(refusal("{\"resourceSpans\": []}"), "");
  EXPECT_NE(refusal(std::string(100, '\xff')), "");
  EXPECT_NE(refusal(field(1, field(2, "\x0a\xff\xff\xff\xff\x0f"))), "") << "a length beyond the end";
}

TEST(Otlp, UnknownFieldsArePassedOver) {
  EXPECT_TRUE(read(span(varint_field(99, 1) + field(98, "x") + fixed_field(97, 1) + varint_field(5, 1))));
}

TEST(Otlp, IdsAndTextsAreChecked) {
  const auto with = [](const std::string& trace, const std::string& id, const std::string& name) {
    return refusal(request(field(2, field(1, trace) + field(2, id) + field(5, name))));
  };
  EXPECT_EQ(with(kTrace, "spanspan", "a"), "");
  EXPECT_NE(with("short", "spanspan", "a"), "");
  EXPECT_NE(with(std::string(16, '\0'), "spanspan", "a"), "");
  EXPECT_NE(with(kTrace, "short", "a"), "");
  EXPECT_NE(with(kTrace, "spanspan", "\xff"), "");
  EXPECT_NE(with(kTrace, "spanspan", std::string("a\0b", 3)), "");
  EXPECT_NE(refusal(request(field(2, span(fixed_field(7, ~std::uint64_t{0}))))), "") << "a time after 2262";
}

TEST(Otlp, ASmallBodyDoesNotBecomeALargeOne) {
  std::string spans;
  for (std::size_t i = 0; i <= kMostSpansPerRequest; ++i) spans += field(2, span());
  EXPECT_NE(refusal(request(spans)), "");
  std::string attributes;
  for (std::size_t i = 0; i <= kMostValuesPerRequest; ++i) attributes += field(9, "");
  EXPECT_NE(refusal(request(field(2, span(attributes)))), "");
  std::string deep = field(1, "x");
  for (int i = 0; i < 200; ++i) deep = field(5, field(1, deep));
  EXPECT_NE(refusal(request(field(2, span(field(9, attribute("deep", deep)))))), "");
}

std::string gzipped(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST(Otlp, BodiesAreUnpackedUpToALimit) {
  EXPECT_EQ(unpacked("plain", "").value(), "plain");
  EXPECT_EQ(unpacked(gzipped("packed"), "gzip").value(), "packed");
  EXPECT_EQ(unpacked("not gzip", "gzip").error().code, Code::invalid);
  EXPECT_EQ(unpacked(gzipped("broken off").substr(0, 15), "gzip").error().code, Code::invalid);
  EXPECT_EQ(unpacked("x", "br").error().code, Code::invalid);
  EXPECT_EQ(unpacked(gzipped(std::string(kMostOtlpBytes, 'x')), "gzip").value().size(), kMostOtlpBytes);
  EXPECT_EQ(unpacked(gzipped(std::string(kMostOtlpBytes + 1, 'x')), "gzip").error().code, Code::invalid);
}

}  // namespace
}  // namespace lathe::traces
