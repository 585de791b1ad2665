#include "cli/output.h"

#include <gtest/gtest.h>

namespace lathe::cli {
namespace {

json::Value value(std::string_view text) {
  return json::parse(text).value();
}

TEST(Output, TablesOfListsHaveTheGroupsColumns) {
  const auto jobs =
      value(R"([{"name": "a", "state": {"now": "Running"}, "n": 1}, {"name": "größer", "state": {}, "n": null}])");
  EXPECT_EQ(render(jobs, "table", {{"Name", "name"}, {"State", "state.now"}, {"N", "n"}}),
            "Name    State    N\n"
            "------  -------  -\n"
            "a       Running  1\n"
            "größer\n");
  EXPECT_EQ(render(value("[]"), "table", {{"Name", "name"}}), "");
}

TEST(Output, TablesOfQueriesShowWhatTheRowsHave) {
  EXPECT_EQ(render(value(R"([{"a": 1, "deep": {"x": 1}}, {"b": "y"}])"), "table", {}), "a  b\n-  -\n1\n   y\n");
  EXPECT_EQ(render(value(R"(["x", 0.1234567891])"), "table", {}), "Result\n--------\nx\n0.123457\n");
  EXPECT_EQ(render(value(R"({"name": "a", "tags": {"k": "v"}, "none": null})"), "table", {}),
            "name  a\ntags  {\"k\":\"v\"}\n");
}

TEST(Output, LongAndWideCellsKeepTheColumnsStraight) {
  EXPECT_EQ(display_width("größe"), 5U);
  EXPECT_EQ(display_width("日本"), 4U);
  EXPECT_EQ(display_width("e\u0301"), 1U);
  const auto text = render(json::Array{json::Object{{"a", std::string(100, 'x')}, {"b", 1}}}, "table", {});
  EXPECT_NE(text.find(std::string(59, 'x') + "…  1"), std::string::npos) << text;
}

TEST(Output, TsvIsForScripts) {
  EXPECT_EQ(render(value(R"("a\tb")"), "tsv", {}), "a\tb\n") << "one text comes as it is";
  EXPECT_EQ(render(value("true"), "tsv", {}), "true\n");
  EXPECT_EQ(render(value(R"([["a", 1], ["b", null]])"), "tsv", {}), "a\t1\nb\t\n");
  EXPECT_EQ(render(value(R"([{"x": "a\nb", "y": 2.5}])"), "tsv", {}), "a b\t2.5\n");
  EXPECT_EQ(render(value(R"(["a", "b"])"), "tsv", {}), "a\nb\n");
  EXPECT_EQ(render(value("null"), "tsv", {}), "");
}

TEST(Output, TheOtherFormats) {
  EXPECT_EQ(render(value(R"({"a": [1]})"), "json", {}), "{\n  \"a\": [\n    1\n  ]\n}\n");
  EXPECT_EQ(render(value(R"({"a": [1]})"), "yaml", {}), "a:\n- 1\n");
  EXPECT_EQ(render(value("1"), "none", {}), "");
  EXPECT_TRUE(check_format("jsonc").has_value());
  EXPECT_NE(check_format("xml").error().message.find("expected one of json"), std::string::npos);
}

}  // namespace
}  // namespace lathe::cli
