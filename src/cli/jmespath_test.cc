#include "cli/jmespath.h"

#include <gtest/gtest.h>

namespace lathe::cli {
namespace {

std::string query(std::string_view expression, std::string_view document) {
  const auto value = json::parse(document);
  if (!value) return value.error().message;
  const auto path = JmesPath::compile(expression);
  if (!path) return path.error().message;
  const auto result = path->apply(*value);
  return result ? json::print(*result) : result.error().message;
}

struct Case {
  const char* expression;
  const char* document;
  const char* expected;
};

void check(std::initializer_list<Case> cases) {
  for (const auto& one : cases) {
    const auto expected = json::parse(one.expected);
    EXPECT_EQ(query(one.expression, one.document), expected ? json::print(*expected) : one.expected)
        << one.expression << "\n  on " << one.document;
  }
}

// The examples of jmespath.org's specification, section by section.

TEST(JmesPath, Identifiers) {
  check({{"foo", R"({"foo": "value"})", R"("value")"},
         {"bar", R"({"foo": "value"})", "null"},
         {"foo", R"({"foo": [0, 1, 2]})", "[0, 1, 2]"},
         {R"("with space")", R"({"with space": "value"})", R"("value")"},
         {R"("special chars: !@#")", R"({"special chars: !@#": "value"})", R"("value")"},
         {R"("quote\"char")", R"({"quote\"char": "value"})", R"("value")"},
         {R"("\u2713")", R"({"\u2713": "value"})", R"("value")"}});
}

TEST(JmesPath, SubExpressions) {
  check({{"foo.bar", R"({"foo": {"bar": "value"}})", R"("value")"},
         {R"(foo."bar")", R"({"foo": {"bar": "value"}})", R"("value")"},
         {"foo.bar", R"({"foo": {"baz": "value"}})", "null"},
         {"foo.bar.baz", R"({"foo": {"bar": {"baz": "value"}}})", R"("value")"},
         {"foo.bar", R"({"foo": "text"})", "null"}});
}

TEST(JmesPath, Indexes) {
  check({{"[0]", R"(["first", "second", "third"])", R"("first")"},
         {"[-1]", R"(["first", "second", "third"])", R"("third")"},
         {"[100]", R"(["first", "second", "third"])", "null"},
         {"foo[0]", R"({"foo": ["first", "second"]})", R"("first")"},
         {"foo[100]", R"({"foo": ["first", "second"]})", "null"},
         {"foo[0][0]", R"({"foo": [[0, 1], [1, 2]]})", "0"},
         {"foo[0]", R"({"foo": {"bar": 1}})", "null"}});
}

TEST(JmesPath, Slices) {
  const char* numbers = "[0, 1, 2, 3]";
  check({{"[0:4:1]", numbers, "[0, 1, 2, 3]"},
         {"[0:4]", numbers, "[0, 1, 2, 3]"},
         {"[0:3]", numbers, "[0, 1, 2]"},
         {"[:2]", numbers, "[0, 1]"},
         {"[::2]", numbers, "[0, 2]"},
         {"[::-1]", numbers, "[3, 2, 1, 0]"},
         {"[-2:]", numbers, "[2, 3]"},
         {"[2:0:-1]", numbers, "[2, 1]"},
         {"[10:]", numbers, "[]"},
         {"[::9223372036854775807]", numbers, "[0]"},
         {"[::-9223372036854775807]", numbers, "[3]"},
         {"[:2].a", R"([{"a": 1}, {"a": 2}, {"a": 3}])", "[1, 2]"},
         {"[:]", R"("text")", "null"},
         {"[::0]", numbers, "--query, column 1: the step of a slice cannot be 0"}});
}

TEST(JmesPath, FlattenAndListProjections) {
  check(
      {{"[]", "[[0, 1], 2, [3], 4, [5, [6, 7]]]", "[0, 1, 2, 3, 4, 5, [6, 7]]"},
       {"[][]", "[[0, 1], 2, [3], 4, [5, [6, 7]]]", "[0, 1, 2, 3, 4, 5, 6, 7]"},
       {"foo[].bar", R"({"foo": [{"bar": 1}, {"bar": 2}]})", "[1, 2]"},
       {"foo[*].bar", R"({"foo": [{"bar": "one"}, {"bar": "two"}, {"baz": 3}]})", R"(["one", "two"])"},
       {"[*].foo[*].bar", R"([{"foo": [{"bar": 1}, {"bar": 2}]}, {"foo": [{"bar": 3}]}])", "[[1, 2], [3]]"},
       {"[*].foo[].bar", R"([{"foo": [{"bar": 1}, {"bar": 2}]}, {"foo": [{"bar": 3}]}])", "[1, 2, 3]"},
       {"reservations[].instances[].state",
        R"({"reservations": [{"instances": [{"state": "running"}, {"state": "stopped"}]},
                               {"instances": [{"state": "ended"}]}]})",
        R"(["running", "stopped", "ended"])"},
       {"foo[*]", R"({"foo": "text"})", "null"},
       {"[*][0]", "[[1, 2], [3]]", "[1, 3]"}});
}

TEST(JmesPath, ObjectProjections) {
  check({{"*.foo", R"({"a": {"foo": 1}, "b": {"foo": 2}, "c": {"bar": 1}})", "[1, 2]"},
         {"ops.*.numArgs", R"({"ops": {"a": {"numArgs": 2}, "b": {"numArgs": 3}, "c": {"variadic": true}}})", "[2, 3]"},
         {"*.*", R"({"a": {"x": 1}, "b": {"y": 2}})", "[[1], [2]]"},
         {"*", "[1]", "null"}});
}

TEST(JmesPath, FiltersAndComparisons) {
  const char* machines = R"({"machines": [{"name": "a", "state": "running"}, {"name": "b", "state": "stopped"}]})";
  check({{"machines[?state=='running'].name", machines, R"(["a"])"},
         {"machines[?state!='running'].name | [0]", machines, R"("b")"},
         {"foo[?bar==`10`]", R"({"foo": [{"bar": 1}, {"bar": 10}]})", R"([{"bar": 10}])"},
         {"[?bar==`10`]", R"([{"bar": 1}, {"bar": 10}])", R"([{"bar": 10}])"},
         {"foo[?a==b]", R"({"foo": [{"a": 1, "b": 2}, {"a": 2, "b": 2}]})", R"([{"a": 2, "b": 2}])"},
         {"foo[?a > `1`].a", R"({"foo": [{"a": 1}, {"a": 2}, {"a": "3"}]})", "[2]"},
         {"foo[?a < `2` || b].a", R"({"foo": [{"a": 1}, {"a": 2}, {"a": 3, "b": true}]})", "[1, 3]"},
         {"foo[?a >= `2` && !b].a", R"({"foo": [{"a": 1}, {"a": 2}, {"a": 3, "b": true}]})", "[2]"},
         {"foo[?a <= `1.0`].a", R"({"foo": [{"a": 1}, {"a": 2}]})", "[1]"},
         {"a == b", R"({"a": 1, "b": 1.0})", "true"},
         {"a == b", R"({"a": {"x": 1, "y": [2]}, "b": {"y": [2], "x": 1}})", "true"},
         {"a == b", R"({"a": true, "b": 1})", "false"},
         {"a < b", R"({"a": "x", "b": "y"})", "null"},
         {"foo[?type=='a'][]", R"({"foo": [{"type": "a"}]})", R"([{"type": "a"}])"},
         {"[?a[0] == `1`].b", R"([{"a": [1], "b": 5}])", "[5]"}});
}

TEST(JmesPath, BooleansAndPrecedence) {
  check({{"foo || bar", R"({"foo": "f", "bar": "b"})", R"("f")"},
         {"foo || bar", R"({"bar": "b"})", R"("b")"},
         {"foo || bar", R"({"foo": [], "bar": "b"})", R"("b")"},
         {"foo || bar", R"({"foo": 0, "bar": "b"})", "0"},
         {"False || False || Number", R"({"False": false, "Number": 5})", "5"},
         {"a && b", R"({"a": true, "b": "x"})", R"("x")"},
         {"a && b", R"({"a": [], "b": "x"})", "[]"},
         {"!a", R"({"a": {}})", "true"},
         {"!a == b", R"({"a": 1, "b": false})", "true"},
         {"a || b && c", R"({"a": false, "b": 1, "c": 2})", "2"},
         {"(a || b) && c", R"({"a": 1, "b": 1, "c": false})", "false"}});
}

TEST(JmesPath, MultiSelectsAndPipes) {
  check({{"[foo, bar]", R"({"foo": 1, "bar": 2, "baz": 3})", "[1, 2]"},
         {"[foo, nothing]", R"({"foo": 1})", "[1, null]"},
         {"{a: foo, \"b c\": bar.x}", R"({"foo": 1, "bar": {"x": 2}})", R"({"a": 1, "b c": 2})"},
         {"foo.[a, b]", R"({"foo": {"a": 1, "b": 2}})", "[1, 2]"},
         {"foo.{x: a}", R"({"foo": {"a": 1}})", R"({"x": 1})"},
         {"[].[a, b]", R"([{"a": 1, "b": 2}, {"a": 3}])", "[[1, 2], [3, null]]"},
         {"foo.[a]", R"({"foo": null})", "null"},
         {"foo | bar", R"({"foo": {"bar": 1}})", "1"},
         {"foo[*].bar | [0]", R"({"foo": [{"bar": [0, 1]}, {"bar": [2]}]})", "[0, 1]"},
         {"foo[*].bar[0]", R"({"foo": [{"bar": [0, 1]}, {"bar": [2]}]})", "[0, 2]"},
         {"@", "[1]", "[1]"},
         {"foo[].{a: @, b: length(@)}", R"({"foo": ["xy"]})", R"([{"a": "xy", "b": 2}])"}});
}

TEST(JmesPath, Literals) {
  check({{"`[1, 2]`", "{}", "[1, 2]"},
         {"`\"foo\"`", "{}", R"("foo")"},
         {"`foo`", "{}", R"("foo")"},
         {"`{\"a\": 1}`.a", "{}", "1"},
         {"'raw \"text\"'", "{}", R"("raw \"text\"")"},
         {R"('it\'s')", "{}", R"("it's")"},
         {"`\"\\`\"`", "{}", R"("`")"},
         {"`null`", "{}", "null"},
         {"''", "{}", R"("")"}});
}

TEST(JmesPath, Functions) {
  check({{"abs(`-1`)", "{}", "1"},
         {"abs(`-1.5`)", "{}", "1.5"},
         {"avg(@)", "[10, 15, 20]", "15.0"},
         {"avg(@)", "[]", "null"},
         {"ceil(`1.001`)", "{}", "2"},
         {"floor(`1.9`)", "{}", "1"},
         {"contains('foobar', 'foo')", "{}", "true"},
         {"contains(@, 'b')", R"(["a", "b"])", "true"},
         {"contains('foobar', `123`)", "{}", "false"},
         {"ends_with('foobarbaz', 'baz')", "{}", "true"},
         {"starts_with('foobarbaz', 'foo')", "{}", "true"},
         {"join(', ', @)", R"(["a", "b"])", R"("a, b")"},
         {"keys(@)", R"({"foo": 1, "bar": 2})", R"(["foo", "bar"])"},
         {"values(@)", R"({"foo": 1, "bar": 2})", "[1, 2]"},
         {"length('abc')", "{}", "3"},
         {"length('größe')", "{}", "5"},
         {"length(@)", R"({"foo": 1})", "1"},
         {"map(&foo, @)", R"([{"foo": "a"}, {"bar": 1}])", R"(["a", null])"},
         {"max(@)", "[10, 15]", "15"},
         {"max(@)", R"(["a", "b"])", R"("b")"},
         {"max(@)", "[]", "null"},
         {"max_by(@, &age).name", R"([{"name": "x", "age": 30}, {"name": "y", "age": 50}])", R"("y")"},
         {"merge(`{\"a\": 1, \"b\": 2}`, `{\"b\": 3}`)", "{}", R"({"a": 1, "b": 3})"},
         {"min(@)", "[10, 15]", "10"},
         {"min_by(@, &age).name", R"([{"name": "x", "age": 30}, {"name": "y", "age": 50}])", R"("x")"},
         {"not_null(a, b, c)", R"({"b": null, "c": 3})", "3"},
         {"reverse(@)", "[0, 1, 2]", "[2, 1, 0]"},
         {"reverse('größ')", "{}", R"("ßörg")"},
         {"sort(@)", R"(["b", "a", "c"])", R"(["a", "b", "c"])"},
         {"sort_by(@, &age)[].name", R"([{"name": "x", "age": 50}, {"name": "y", "age": 30}])", R"(["y", "x"])"},
         {"sum(@)", "[10, 15]", "25"},
         {"sum(@)", "[]", "0"},
         {"to_array(`0`)", "{}", "[0]"},
         {"to_array(@)", "[1]", "[1]"},
         {"to_string(`2`)", "{}", R"("2")"},
         {"to_string(@)", R"({"a": [1]})", R"("{\"a\":[1]}")"},
         {"to_number('23')", "{}", "23"},
         {"to_number('x')", "{}", "null"},
         {"type(@)", R"("foo")", R"("string")"},
         {"type(@)", "true", R"("boolean")"},
         {"type(@)", "null", R"("null")"},
         {"type(@)", "123.5", R"("number")"}});
}

TEST(JmesPath, MistakesSayWhereAndWhatWasExpected) {
  check({{"", "{}", "--query, column 1: expected an expression"},
         {"foo.", "{}", "--query, column 5: expected a name, *, [ or {, not the end"},
         {"foo[", "{}", "--query, column 5: expected a number, : or *, not the end"},
         {"foo[?a=='b'", "{}", "--query, column 12: expected ], not the end"},
         {"foo bar", "{}", "--query, column 5: expected the end, not bar"},
         {"foo[?a='b']", "{}", "--query, column 7: expected =="},
         {"'open", "{}", "--query, column 1: expected a closing ' for this one"},
         {"foo.#", "{}", "--query, column 5: \"#\" is not expected here"},
         {"lenght(@)", "{}",
          R"(--query, column 1: no function named "lenght"; the nearest are "length", "merge", "avg")"},
         {"length(@, @)", "{}", "--query, column 1: length takes 1 argument, not 2"},
         {"length(`1`)", "{}", "--query, column 8: length takes a string or an array or an object here, not number"},
         {"sum(@)", R"(["a"])", "--query, column 5: sum takes an array of numbers here, not array"},
         {"sort_by(@, &a)", R"([{"a": 1}, {"a": "x"}])",
          "--query, column 1: sort_by: the expression must give numbers only or strings only"},
         {"&a", "{}", "--query, column 1: & may only stand before an argument of a function"}});
  EXPECT_NE(query(std::string(5000, '('), "{}").find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace lathe::cli
