#include "auth/auth.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/ids.h"

namespace lathe::auth {
namespace {

struct AuthTest : ::testing::Test {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("lathe-auth-test-" + random_hex(4));
  std::unique_ptr<db::Database> db;
  std::unique_ptr<Auth> auth;
  std::string admin_token;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    db = db::open_sqlite((folder / "lathe.db").string(), db::migrations()).value();
    auth = Auth::open(*db, false).value();
    admin_token = auth->first_start().value().value();
  }
  void TearDown() override {
    auth.reset();
    db.reset();
    std::filesystem::remove_all(folder);
  }
  Result<http::Principal> who(const std::string& token) { return auth->authenticate(http::Credentials{token, {}}); }
};

TEST_F(AuthTest, TheFirstStartMakesOneAdministratorAndTheNextNone) {
  EXPECT_EQ(who(admin_token)->user, "admin");
  EXPECT_TRUE(who(admin_token)->is_administrator());
  EXPECT_EQ(auth->first_start().value(), std::nullopt);
}

TEST_F(AuthTest, NoTokenAndAWrongTokenAreUnauthenticated) {
  EXPECT_EQ(auth->authenticate(std::nullopt).error().code, Code::unauthenticated);
  EXPECT_EQ(who("wrong").error().code, Code::unauthenticated);
  EXPECT_EQ(who("").error().code, Code::unauthenticated);
}

TEST_F(AuthTest, TokensAreKeptAsHashesOnly) {
  const auto kept = db->read([&](db::Connection& c) {
    return db::all(c, "SELECT hash FROM token", [](const db::Row& row) { return row.text(0); });
  });
  for (const auto& hash : *kept) EXPECT_EQ(hash.find(admin_token), std::string::npos);
}

TEST_F(AuthTest, ARevokedOrExpiredTokenIsWorthless) {
  const auto token = auth->create_token("admin", "laptop", std::nullopt, "admin").value();
  EXPECT_TRUE(who(*token.token));
  ASSERT_TRUE(auth->revoke_token(token.id, std::nullopt, "admin"));
  EXPECT_FALSE(who(*token.token));
  const auto expired = auth->create_token("admin", "short", std::chrono::seconds{0}, "admin").value();
  EXPECT_FALSE(who(*expired.token));
}

TEST_F(AuthTest, AJobsTokenKnowsItsRunUntilRevoked) {
  const auto secret = db->write([&](db::Connection& c) { return auth->issue_job_token(c, "admin", "run1"); }).value();
  EXPECT_EQ(who(secret)->run, "run1");
  EXPECT_FALSE(who(secret)->is_administrator());
  const auto reopened = Auth::open(*db, false).value();
  EXPECT_EQ(reopened->authenticate(http::Credentials{secret, {}})->run, "run1");
  ASSERT_TRUE(db->write([&](db::Connection& c) { return auth->revoke_job_token(c, "run1"); }));
  EXPECT_FALSE(who(secret));
}

TEST_F(AuthTest, UsersComeAndGoButNeverTheLastAdministrator) {
  if (::geteuid() != 0) GTEST_SKIP() << "only a server that runs as root takes a second user";
  const auto user = auth->create_user("ann", "member", "admin").value();
  EXPECT_EQ(who(*user.token)->role, http::Role::member);
  EXPECT_EQ(auth->create_user("ann", "member", "admin").error().code, Code::conflict);
  EXPECT_EQ(auth->create_user("bob", "king", "admin").error().code, Code::invalid);
  EXPECT_EQ(auth->create_user("a b", "member", "admin").error().code, Code::invalid);
  ASSERT_TRUE(auth->delete_user("ann", "admin"));
  EXPECT_FALSE(who(*user.token));
  EXPECT_EQ(auth->delete_user("admin", "admin").error().code, Code::conflict);
  EXPECT_EQ(auth->delete_user("nobody", "admin").error().code, Code::not_found);
}

TEST_F(AuthTest, WithAuthOffEverybodyIsTheAdministrator) {
  const auto open = Auth::open(*db, true).value();
  EXPECT_TRUE(open->authenticate(std::nullopt)->is_administrator());
}

TEST_F(AuthTest, APasswordWorksUnderItsUsersNameOnly) {
  ASSERT_TRUE(auth->set_password("admin", "correct horse", "admin"));
  const auto come = [&](const std::string& user, const std::string& password) {
    return auth->authenticate(http::Credentials{password, user});
  };
  EXPECT_EQ(come("admin", "correct horse")->user, "admin");
  EXPECT_EQ(come("", "correct horse").error().code, Code::unauthenticated);
  EXPECT_EQ(come("ann", "correct horse").error().code, Code::unauthenticated);
  ASSERT_TRUE(auth->set_password("admin", "another one, longer", "admin"));
  EXPECT_EQ(come("admin", "correct horse").error().code, Code::unauthenticated);
  EXPECT_EQ(auth->set_password("admin", "short", "admin").error().code, Code::invalid);
  EXPECT_EQ(auth->set_password("nobody", "correct horse", "admin").error().code, Code::not_found);
}

TEST(PasswordChecks, AreBoundedExceptForThoseThatWereRight) {
  PasswordChecks checks;
  const auto start = from_micros(1'000'000'000);
  checks.remember("ann", "right", "kept");
  int checked = 0;
  while (checked < 100 && checks.hash("ann", std::to_string(checked), start)) ++checked;
  EXPECT_EQ(checked, 5);
  EXPECT_EQ(checks.hash("ann", "right", start), "kept");
  EXPECT_TRUE(checks.hash("ann", "wrong", start + std::chrono::seconds(1)));
}

}  // namespace
}  // namespace lathe::auth
