#include "json/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "json/fields.h"

namespace lathe::json {

struct Wheel {
  std::string name;
  std::int64_t spokes = 0;
  std::optional<double> width;
  std::vector<std::string> tags;
};
template <>
struct Fields<Wheel> {
  static constexpr std::string_view name = "Wheel";
  static constexpr auto list = std::tuple{field("name", &Wheel::name), field("spokes", &Wheel::spokes, "how many"),
                                          field("width", &Wheel::width), field("tags", &Wheel::tags)};
};

namespace {

TEST(Json, AnErrorNamesLineAndColumn) {
  const auto parsed = parse("{\n  \"a\": 1,\n  oops\n}");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Code::invalid);
  EXPECT_NE(parsed.error().message.find("line 3, column 3"), std::string::npos) << parsed.error().message;
}

TEST(Json, WhatFollowsTheDocumentIsRefused) {
  EXPECT_FALSE(parse("1 2"));
  EXPECT_FALSE(parse(""));
  EXPECT_FALSE(parse("{"));
  EXPECT_TRUE(parse(" 1 \n"));
}

TEST(Json, DeepNestingIsRefused) { EXPECT_FALSE(parse(std::string(10000, '[') + std::string(10000, ']'))); }

TEST(Json, DoublesReadBackTheSame) {
  for (const double number : {0.1, 1e300, -2.5, 3.0}) {
    EXPECT_EQ(parse(print(Value(number)))->to_number<double>(), number);
  }
  EXPECT_EQ(print(Value(1.0)), "1.0");
}

TEST(Json, NumbersAreTakenAsProtobufWritesThem) {
  const auto object = parse_object(R"({"a":"12","b":12.0,"c":"NaN","d":1.5})").value();
  EXPECT_EQ(get_int(object, "a").value(), 12);
  EXPECT_EQ(get_int(object, "b").value(), 12);
  EXPECT_TRUE(std::isnan(**get_double(object, "c")));
  EXPECT_FALSE(get_int(object, "d"));
  EXPECT_EQ(get_int(object, "none").value(), std::nullopt);
}

TEST(Fields, AStructGoesBothWays) {
  const Wheel wheel{"front", 32, std::nullopt, {"a"}};
  EXPECT_EQ(print(to_json(wheel)), R"({"name":"front","spokes":32,"tags":["a"]})");
  const auto back = from_json<Wheel>(to_json(wheel)).value();
  EXPECT_EQ(back.name, "front");
  EXPECT_EQ(back.spokes, 32);
}

TEST(Fields, ErrorsNameTheMember) {
  const auto error = [](const char* text) { return from_json<Wheel>(parse(text).value()).error().message; };
  EXPECT_EQ(error(R"({"name":1,"spokes":1})"), "name must be a string, not a number");
  EXPECT_EQ(error(R"({"name":"a"})"), "spokes is missing");
  EXPECT_EQ(error(R"({"name":"a","spokes":1,"tags":[1]})"), "tags[0] must be a string, not a number");
  EXPECT_EQ(error(R"({"name":"a","spokes":1,"colour":1})"), "unknown field \"colour\"");
}

TEST(Fields, TheSchemaListsWhatIsRequired) {
  Object components;
  EXPECT_EQ(print(schema<Wheel>(components)), R"({"$ref":"#/components/schemas/Wheel"})");
  EXPECT_EQ(print(components["Wheel"].at("required")), R"(["name","spokes","tags"])");
}

TEST(Json, TextsAreEscapedAndReadBackTheSame) {
  std::string all;
  for (int c = 0; c < 0x80; ++c) all += static_cast<char>(c);
  all += "\u00e4\u20ac\U0001F600";
  EXPECT_EQ(view(parse(print(Value(boost::json::string_view(all))))->get_string()), all);
  EXPECT_EQ(print(Value("a\"b\\c\n\x01/")), R"("a\"b\\c\n\u0001/")");
}

TEST(Json, NumbersAreWrittenAsTheyReadBack) {
  for (const double number : {0.1, -0.0, 1.0, 1e300, 5e-324, 1.7976931348623157e308, 123456789.125}) {
    const auto text = print(Value(number));
    const auto read = parse(text).value();
    ASSERT_TRUE(read.is_double()) << text;
    EXPECT_EQ(read.get_double(), number) << text;
  }
  EXPECT_EQ(print(Value(std::numeric_limits<std::int64_t>::min())), "-9223372036854775808");
}

}  // namespace
}  // namespace lathe::json
