#include "storage/aws_profile.h"

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "base/ids.h"

namespace lathe::storage {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> variables;
const char* environment(const char* name) {
  const auto found = variables.find(name);
  return found != variables.end() ? found->second.c_str() : nullptr;
}

struct AwsProfileTest : ::testing::Test {
  fs::path home = fs::temp_directory_path() / ("lathe-aws-test-" + random_hex(4));

  AwsProfileTest() {
    fs::create_directories(home / ".aws");
    variables = {{"HOME", home.string()}};
  }
  ~AwsProfileTest() override { fs::remove_all(home); }

  void write(const char* file, const std::string& text) { ASSERT_TRUE(write_file(home / ".aws" / file, text)); }
  std::string refusal() { return aws_profile(environment).error().message; }
};

TEST_F(AwsProfileTest, TheEnvironmentComesBeforeTheFiles) {
  write("credentials", "[default]\naws_access_key_id = F\naws_secret_access_key = f\n");
  variables.insert({{"AWS_ACCESS_KEY_ID", "E"},
                    {"AWS_SECRET_ACCESS_KEY", "e"},
                    {"AWS_SESSION_TOKEN", "t"},
                    {"AWS_DEFAULT_REGION", "later"},
                    {"AWS_REGION", "eu-north-1"},
                    {"AWS_ENDPOINT_URL", "http://all"},
                    {"AWS_ENDPOINT_URL_S3", "http://s3"}});
  const auto found = aws_profile(environment).value();
  EXPECT_EQ(found.credentials.access_key, "E");
  EXPECT_EQ(found.credentials.secret_key, "e");
  EXPECT_EQ(found.credentials.session_token, "t");
  EXPECT_EQ(found.region, "eu-north-1");
  EXPECT_EQ(found.endpoint, "http://s3");
}

TEST_F(AwsProfileTest, AProfileIsReadFromBothFiles) {
  write("credentials",
        "# keys\n[default]\naws_access_key_id=D\naws_secret_access_key=d\n\n"
        "[ team ]\naws_access_key_id = T\naws_secret_access_key = a=b/c+d\n");
  write("config",
        "[default]\nregion = us-west-2\n[profile team]\nregion = eu-west-1\ns3 =\n  region = inner\n"
        "endpoint_url = https://minio.example:9000\n");
  EXPECT_EQ(aws_profile(environment)->credentials.access_key, "D");
  EXPECT_EQ(aws_profile(environment)->region, "us-west-2");
  variables["AWS_PROFILE"] = "team";
  const auto found = aws_profile(environment).value();
  EXPECT_EQ(found.credentials.access_key, "T");
  EXPECT_EQ(found.credentials.secret_key, "a=b/c+d");
  EXPECT_EQ(found.region, "eu-west-1");
  EXPECT_EQ(found.endpoint, "https://minio.example:9000");
}

TEST_F(AwsProfileTest, WhatIsMissingIsSaidWithoutASecret) {
  EXPECT_NE(refusal().find("there are no S3 credentials"), std::string::npos);
  variables["AWS_SECRET_ACCESS_KEY"] = "hush";
  EXPECT_NE(refusal().find("only half"), std::string::npos);
  EXPECT_EQ(refusal().find("hush"), std::string::npos);
  variables.erase("AWS_SECRET_ACCESS_KEY");
  write("config", "[default]\nrole_arn = arn:aws:iam::1:role/x\n");
  EXPECT_NE(refusal().find("by role_arn, which Lathe does not follow"), std::string::npos);
}

TEST_F(AwsProfileTest, ARewrittenFileGivesItsNewKeys) {
  write("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = a\n");
  CredentialsOf credentials(aws_profile(environment).value(), environment);
  EXPECT_EQ(credentials.now().access_key, "A");
  write("credentials", "[default]\naws_access_key_id = B\naws_secret_access_key = b\naws_session_token = t\n");
  fs::last_write_time(home / ".aws" / "credentials", fs::file_time_type::clock::now() + std::chrono::seconds{2});
  EXPECT_EQ(credentials.now().access_key, "B");
  EXPECT_EQ(credentials.now().session_token, "t");
}

}  // namespace
}  // namespace lathe::storage
