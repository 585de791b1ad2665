#include "app/config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/ids.h"
#include "compute/sizes.h"

namespace lathe::app {
namespace {

const char* no_environment(const char*) { return nullptr; }
const char* some_environment(const char* name) {
  if (std::string_view(name) == "LATHE_PORT") return "9001";
  if (std::string_view(name) == "LATHE_HOST") return "127.0.0.2";
  if (std::string_view(name) == "HOME") return "/home/ann";
  return nullptr;
}

struct ConfigTest : ::testing::Test {
  std::string file = (std::filesystem::temp_directory_path() / ("lathe-config-" + random_hex(4) + ".yml")).string();
  ~ConfigTest() override { std::filesystem::remove(file); }
};

TEST_F(ConfigTest, FlagsWinOverTheEnvironmentAndThatOverTheFile) {
  ASSERT_TRUE(write_file(file, "port: 1\nhost: 127.0.0.3\nlog_level: warn\n"));
  const auto config = Config::load({{"config", file}, {"port", "5"}}, some_environment).value();
  EXPECT_EQ(config.port("port"), 5);
  EXPECT_EQ(config.origin("port"), "flag --port");
  EXPECT_EQ(config.text("host"), "127.0.0.2");
  EXPECT_EQ(config.origin("host"), "environment LATHE_HOST");
  EXPECT_EQ(config.text("log_level"), "warn");
  EXPECT_EQ(config.origin("log_level"), "file " + file);
  EXPECT_EQ(config.origin("auth"), "default");
  EXPECT_EQ(config.data(), "/home/ann/.local/share/lathe");
}

TEST_F(ConfigTest, AnUnknownSettingNamesItsLineAndTheNearest) {
  ASSERT_TRUE(write_file(file, "host: 127.0.0.1\nprot: 1\n"));
  const auto config = Config::load({{"config", file}}, no_environment);
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find(":2: no setting named \"prot\"; the nearest are \"port\""), std::string::npos) << config.error().message;
}

TEST_F(ConfigTest, ValuesThatCannotBeAreRefusedWithTheirOrigin) {
  EXPECT_EQ(Config::load({{"port", "80x"}}, no_environment).error().message,
            "port must be a port number from 0 to 65535, not \"80x\" (from flag --port)");
  EXPECT_EQ(Config::load({{"slurm_environments", "shared"}}, no_environment).error().message,
            "slurm_environments must be a folder's absolute path, not \"shared\" (from flag --slurm-environments)");
  EXPECT_FALSE(Config::load({{"port", "65536"}}, no_environment));
  EXPECT_FALSE(Config::load({{"auth", "maybe"}}, no_environment));
  EXPECT_EQ(Config::load({{"config", "/nowhere"}}, no_environment).error().code, Code::not_found);
}

TEST_F(ConfigTest, TheDataFolderHasAName) {
  ASSERT_TRUE(write_file(file, "data: \"\"\n"));
  EXPECT_EQ(Config::load({{"config", file}}, no_environment).error().message,
            "data must be a folder, not \"\" (from file " + file + ")");
}

TEST_F(ConfigTest, SizesAreAMapInTheFileAndTextElsewhere) {
  ASSERT_TRUE(write_file(file, "sizes:\n  small: {cores: 1, memory: 2GiB}\n  half-gpu: {cores: 4, memory: 16GiB, gpu: 0.5}\n"));
  const auto sizes = compute::parse_sizes(Config::load({{"config", file}}, no_environment)->text("sizes")).value();
  ASSERT_EQ(sizes.size(), 2U);
  EXPECT_EQ(sizes[1].name, "half-gpu");
  EXPECT_EQ(sizes[1].given, (compute::Resources{4, std::int64_t{16} << 30, 0, 500}));
  EXPECT_EQ(Config::load({{"sizes", "small=cores:two"}}, no_environment).error().message.substr(0, 13), "sizes: small:");
  ASSERT_TRUE(write_file(file, "sizes: {small: 4}\n"));
  EXPECT_FALSE(Config::load({{"config", file}}, no_environment));
}

TEST_F(ConfigTest, PairsAreAMapInTheFileAndTextElsewhere) {
  ASSERT_TRUE(write_file(file, "user_quotas: {alice: 2, \"*\": 4}\nslurm_qos:\n  spot: scavenger\n"
                               "isolation_targets: [a=off, b=sandbox]\n"));
  const auto config = Config::load({{"config", file}}, no_environment).value();
  EXPECT_EQ(config.text("user_quotas"), "alice=2,*=4");
  EXPECT_EQ(config.text("slurm_qos"), "spot=scavenger");
  EXPECT_EQ(config.text("isolation_targets"), "a=off,b=sandbox");
  ASSERT_TRUE(write_file(file, "port: {a: 1}\n"));
  EXPECT_NE(Config::load({{"config", file}}, no_environment).error().message.find(":1: port must be one value"), std::string::npos);
}

TEST_F(ConfigTest, AMalformedFileNamesItsLine) {
  ASSERT_TRUE(write_file(file, "port: 1\nhost: [a\n"));
  const auto config = Config::load({{"config", file}}, no_environment);
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find(file + ":"), std::string::npos);
}

TEST_F(ConfigTest, IsolationOfTargetsIsCheckedWhenItIsRead) {
  const auto load = [&](const std::string& value) { return Config::load({{"isolation_targets", value}}, no_environment); };
  EXPECT_TRUE(load("local=off, gpu-box=sandbox"));
  EXPECT_TRUE(load(""));
  for (const char* wrong : {"local", "local=on", "=sandbox", "local=off,,a=off"}) EXPECT_FALSE(load(wrong)) << wrong;
}

}  // namespace
}  // namespace lathe::app
