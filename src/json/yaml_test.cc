#include "json/yaml.h"

#include <gtest/gtest.h>

namespace lathe::json {
namespace {

std::string read(std::string_view text) {
  auto document = parse_yaml(text, "job.yml");
  return document ? print(document->value) : document.error().message;
}

TEST(Yaml, PlainScalarsHaveTheirTypesAndQuotedOnesAreText) {
  EXPECT_EQ(read("a: 3\nb: -4\nc: 1.5\nd: true\ne: no\nf: null\ng: ~\nh:\ni: text\n"),
            R"({"a":3,"b":-4,"c":1.5,"d":true,"e":false,"f":null,"g":null,"h":null,"i":"text"})");
  EXPECT_EQ(read("a: '3'\nb: \"true\"\nc: !!str 4\nd: ''\n"), R"({"a":"3","b":"true","c":"4","d":""})");
  EXPECT_EQ(read("[0x1f, 0o17, 1e-3, .5, 2., +7]"), "[31,15,0.001,0.5,2.0,7]");
}

TEST(Yaml, WhatOnlySomeParsersTakeForNumbersStaysText) {
  EXPECT_EQ(read("[007, 1_000, 2022-10-01, 12:30:45, 1.2.3, 0x, -, 1e, .]"),
            R"(["007","1_000","2022-10-01","12:30:45","1.2.3","0x","-","1e","."])");
  EXPECT_EQ(read("[18446744073709551615, -9223372036854775807]"), "[18446744073709551615,-9223372036854775807]");
}

TEST(Yaml, BlocksKeepTheirLines) {
  EXPECT_EQ(read("command: |\n  echo a\n  echo b\nother: >-\n  one\n  two\n"),
            R"({"command":"echo a\necho b\n","other":"one two"})");
}

TEST(Yaml, AnchorsAndMergeKeysAreExpandedAndOwnKeysWin) {
  EXPECT_EQ(read("base: &b {x: 1, y: 2}\na:\n  <<: *b\n  y: 3\nc: *b\nd:\n  <<: [{z: 1}, *b]\n"),
            R"({"base":{"x":1,"y":2},"a":{"y":3,"x":1},"c":{"x":1,"y":2},"d":{"z":1,"x":1,"y":2}})");
}

TEST(Yaml, JsonIsYaml) {
  EXPECT_EQ(read(R"({"a": [1, "b", {"c": null}]})"), R"({"a":[1,"b",{"c":null}]})");
}

TEST(Yaml, AnEmptyFileIsNull) {
  EXPECT_EQ(read(""), "null");
  EXPECT_EQ(read("# nothing\n"), "null");
}

TEST(Yaml, MistakesNameFileLineColumnAndWhatWasExpected) {
  EXPECT_EQ(read("a: 1\nb: [1, 2\nc: 3\n").substr(0, 10), "job.yml:3:");
  EXPECT_EQ(read("a: b: c\n"), "job.yml:1:5: expected no second \":\" here; quote the value if it holds \": \"");
  EXPECT_EQ(read("a: 1\na: 2\n"), "job.yml:2:1: expected each key once, \"a\" stands here again");
  EXPECT_EQ(read("a:\n\tb: 1\n").substr(0, 10), "job.yml:2:");
  EXPECT_EQ(read("a: x\nb:\n\tc: 1\n"), "job.yml:3:3: expected spaces; a tab cannot indent");
  EXPECT_EQ(read("a: 1\n---\nb: 2\n"), "job.yml:2:1: expected one document, here a second one starts");
  EXPECT_EQ(read("[a]: 1\n"), "job.yml:1:1: expected a key that is a plain word");
  EXPECT_NE(read("a: *nobody\n").find("anchor"), std::string::npos);
  EXPECT_EQ(read("é: 'ü'\na: \"open\nb: 1\n"), "job.yml:2:4: expected a closing \" for this one");
}

TEST(Yaml, DepthAndSizeHaveLimits) {
  EXPECT_NE(read(std::string(100, '[') + std::string(100, ']')).find("at most 64 levels"), std::string::npos);
  EXPECT_EQ(read(std::string(20000, '[')).substr(0, 8), "job.yml:");
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) laughs += (j > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    laughs += "]\n";
  }
  EXPECT_NE(read(laughs).find("at most 100000 values"), std::string::npos);
}

TEST(Yaml, FieldsKnowWhereTheyStand) {
  const auto document =
      parse_yaml("name: x\nlimits:\n  timeout: soon\nsteps:\n  - a: 1\n  - b: 2\n", "job.yml").value();
  ASSERT_NE(document.find("limits.timeout"), nullptr);
  EXPECT_EQ(document.find("limits.timeout")->line, 3U);
  EXPECT_EQ(document.find("limits.timeout")->column, 3U);
  EXPECT_EQ(document.find("steps[1].b")->line, 6U);
  EXPECT_EQ(document.find("limits.nothing")->line, 2U) << "the nearest field around it";
  EXPECT_EQ(document.find("nothing"), nullptr);
}

TEST(Yaml, WhatIsWrittenReadsBackTheSame) {
  const auto value = parse(R"({"name": "a b", "n": 3, "d": 2.0, "t": "3", "yes": "yes", "empty": {}, "none": null,
      "list": [1, [2, 3], {"x": "- y", "z": []}], "text": "one\ntwo\n", "odd": " a: #b\n\n", "u": "größe", "": "x"})")
                         .value();
  const auto text = to_yaml(value);
  const auto again = parse_yaml(text, "again");
  ASSERT_TRUE(again.has_value()) << again.error().message << "\n" << text;
  EXPECT_EQ(print(again->value), print(value)) << text;
  EXPECT_EQ(to_yaml(parse(R"({"a": {"b": [1, {"c": 2, "d": "x"}]}})").value()),
            "a:\n  b:\n  - 1\n  - c: 2\n    d: x\n");
}

}  // namespace
}  // namespace lathe::json
