#include "cli/cli.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "cli/arguments.h"
#include "cli/document.h"
#include "cli/set_path.h"
#include "cli/sse.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

std::string with_set(std::string_view document, std::initializer_list<const char*> expressions) {
  auto value = json::parse(document).value();
  for (const auto* expression : expressions)
    if (auto done = set_expression(value, expression); !done) return done.error().message;
  return json::print(value);
}

TEST(SetExpression, ValuesAreTypedAsInYaml) {
  EXPECT_EQ(with_set("{}", {"a=3", "b=true", "c='3'", "d=", "e=x y", "f=1e-3", "g=[1, two]", "h={k: 1}"}),
            R"({"a":3,"b":true,"c":"3","d":null,"e":"x y","f":0.001,"g":[1,"two"],"h":{"k":1}})");
}

TEST(SetExpression, PathsMakeWhatIsMissingAndIndexLists) {
  EXPECT_EQ(with_set(R"({"a": {"b": 1}})", {"a.c.d=2"}), R"({"a":{"b":1,"c":{"d":2}}})");
  EXPECT_EQ(with_set(R"({"l": [{"n": 1}, 2]})", {"l[0].n=5", "l.1=6", "l[2]=7"}), R"({"l":[{"n":5},6,7]})");
  EXPECT_EQ(with_set("{}", {R"(tags.a\.b=1)"}), R"({"tags":{"a.b":1}})");
  EXPECT_EQ(with_set("{}", {"url=http://x/?a=b"}), R"({"url":"http://x/?a=b"})");
}

TEST(SetExpression, MistakesAreNamed) {
  EXPECT_EQ(with_set("{}", {"a"}), "--set a: expected FIELD=VALUE, such as limits.timeout=60");
  EXPECT_EQ(with_set(R"({"a": 1})", {"a.b=2"}), "--set: a.b: a is a number, which has no field \"b\"");
  EXPECT_EQ(with_set(R"({"l": [1]})", {"l[3]=2"}), "--set: l[3]: 3 is not an index of l, which has 1 items");
  EXPECT_NE(with_set("{}", {"a..b=1"}).find("is not a path"), std::string::npos);
  EXPECT_NE(with_set("{}", {"a[0=1"}).find("is not a path"), std::string::npos);
}

Result<Arguments> parse(const std::vector<std::string>& words, Found& found) {
  auto looked = find_verb(words);
  if (!looked) return fail(looked.error());
  found = *looked;
  if (found.verb == nullptr) return fail(Code::invalid, "no verb");
  return parse_arguments(*found.group, *found.verb, {words.begin() + 2, words.end()});
}

Result<Arguments> parse(const std::vector<std::string>& words) {
  Found found;
  return parse(words, found);
}

TEST(Arguments, FlagsComeInAllForms) {
  const auto arguments =
      parse({"job", "create", "-f", "job.yml", "--set", "a=1", "b=2", "--set=c=3", "-o", "tsv", "--stream", "-n", "x"})
          .value();
  EXPECT_EQ(arguments.get("--file"), "job.yml");
  EXPECT_EQ(arguments.all("--set"), (std::vector<std::string>{"a=1", "b=2", "c=3"}));
  EXPECT_EQ(arguments.get("--output"), "tsv");
  EXPECT_TRUE(arguments.has("--stream"));
  EXPECT_EQ(arguments.get("--name"), "x");
}

TEST(Arguments, AValueWithoutAFlagIsTheName) {
  EXPECT_EQ(parse({"job", "show", "happy_otter"}).value().get("--name"), "happy_otter");
  EXPECT_EQ(parse({"token", "revoke", "abc"}).value().get("--id"), "abc");
  EXPECT_FALSE(parse({"job", "show", "a", "b"}).has_value());
}

TEST(Arguments, UnknownThingsNameTheNearest) {
  EXPECT_NE(parse({"jbo", "list"}).error().message.find("nearest are job"), std::string::npos);
  EXPECT_NE(parse({"job", "craete"}).error().message.find("nearest are create"), std::string::npos);
  EXPECT_NE(parse({"job", "list", "--ouput", "x"}).error().message.find("--output"), std::string::npos);
  EXPECT_FALSE(parse({"job", "show", "--name"}).has_value()) << "a flag without its value";
}

TEST(Verbs, TheTableHoldsTogether) {
  for (const auto& group : groups()) {
    EXPECT_FALSE(group.summary.empty()) << group.name;
    std::set<std::string_view> names;
    for (const auto& verb : group.verbs) {
      EXPECT_TRUE(names.insert(verb.name).second) << group.name << " " << verb.name;
      EXPECT_FALSE(verb.summary.empty()) << group.name << " " << verb.name;
      EXPECT_NE(verb.run, nullptr) << group.name << " " << verb.name;
      std::set<std::string_view> flags;
      for (const auto& flag : verb.flags) {
        EXPECT_TRUE(flags.insert(flag.name).second) << verb.name << " " << flag.name;
        EXPECT_FALSE(flag.doc.empty()) << verb.name << " " << flag.name;
        EXPECT_TRUE(flag.goes == Goes::verb || !flag.target.empty()) << verb.name << " " << flag.name;
      }
      for (const auto& example : verb.examples) {
        const bool belongs = example.command.starts_with(group.name);
        EXPECT_TRUE(belongs) << example.command;
      }
      EXPECT_NE(help(group, verb).find("Exit codes"), std::string::npos);
    }
    EXPECT_NE(help().find(group.name), std::string::npos);
  }
}

class DocumentTest : public testing::Test {
 protected:
  DocumentTest() : file_(fs::temp_directory_path() / ("lathe-cli-test." + std::to_string(::getpid()) + ".yml")) {}
  ~DocumentTest() override { fs::remove(file_); }

  Result<Document> build(const std::string& yaml, std::vector<std::string> words) {
    std::ofstream(file_) << yaml;
    words.insert(words.end(), {"-f", file_.string()});
    Found found;
    LATHE_TRY(const auto arguments, parse(words, found));
    return build_document(*found.verb, arguments);
  }

  fs::path file_;
};

TEST_F(DocumentTest, FlagsAndSetLieOverTheFile) {
  const auto document =
      build("name: a\nlimits: {timeout: 5}\ntags: {x: 1}\n",
            {"job", "create", "-n", "b", "--compute", "cpu", "--set", "limits.timeout=9", "--tags", "k=v", "n=2"});
  ASSERT_TRUE(document.has_value()) << document.error().message;
  EXPECT_EQ(json::print(document->yaml.value),
            R"({"name":"b","limits":{"timeout":9},"tags":{"k":"v","n":2},"compute":"cpu"})");
}

TEST_F(DocumentTest, ATextOfPairsIsTakenApart) {
  const auto document = build("{}", {"online-endpoint", "update", "-n", "e", "--traffic", "blue=90 green=10"});
  ASSERT_TRUE(document.has_value()) << document.error().message;
  EXPECT_EQ(json::print(document->yaml.value), R"({"name":"e","traffic":{"blue":90,"green":10}})");
}

TEST_F(DocumentTest, PairsThatSayNothingOrTwoThingsAreRefused) {
  for (const char* value : {"", " ", "blue", "=90", "blue=90 blue=10"})
    EXPECT_FALSE(build("{}", {"online-endpoint", "update", "-n", "e", "--traffic", value})) << value;
}

TEST_F(DocumentTest, ErrorsOfTheServerAreShownWhereTheyStand) {
  const auto document = build("name: a\nlimits:\n  timeout: soon\n", {"job", "create"}).value();
  const auto at = file_.string() + ":";
  EXPECT_EQ(document.located("limits.timeout: must be a number"), at + "3: limits.timeout: must be a number");
  EXPECT_EQ(document.located("no compute named \"x\""), "no compute named \"x\"");
  EXPECT_EQ(document.located("other: is missing"), "other: is missing");
}

TEST_F(DocumentTest, AFileThatIsNoMappingIsRefused) {
  EXPECT_NE(build("- a\n", {"job", "create"}).error().message.find(":1:1: expected \"key: value\" lines, not a list"),
            std::string::npos);
  EXPECT_EQ(json::print(build("", {"job", "create"}).value().yaml.value), "{}");
}

TEST(EventReader, PutsEventsTogetherFromAnyPieces) {
  const std::string stream =
      ": beat\n\nid: 7\nevent: log\ndata: {\"a\":\ndata: 1}\r\n\nevent: state\ndata:x\n\nevent: nothing\n\n";
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    std::vector<std::string> seen;
    EventReader reader([&](const Event& event) { seen.push_back(event.type + "|" + event.data + "|" + event.id); });
    for (std::size_t at = 0; at < stream.size(); at += size) reader.read(std::string_view(stream).substr(at, size));
    EXPECT_EQ(seen, (std::vector<std::string>{"log|{\"a\":\n1}|7", "state|x|7"})) << size;
  }
}

}  // namespace
}  // namespace lathe::cli
