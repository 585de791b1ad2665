#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "auth/passwords.h"
#include "base/time.h"
#include "db/db.h"
#include "http/http.h"
#include "http/server.h"

/// Users, their tokens, and what a request may do.
namespace lathe::auth {

struct User {
  std::string name;
  std::string role;  ///< administrator, member, viewer
  std::string created_by;
  std::string created_at;
  std::optional<std::string> token;  ///< in the answer to creating a user only
};

struct Token {
  std::string id;
  std::string user;
  std::string name;
  std::string created_by;
  std::string created_at;
  std::optional<std::string> expires_at;
  std::optional<std::string> token;  ///< the secret itself, in the answer to creating it only
};

/// Who may come in. Thread-safe; `authenticate` answers from memory.
class Auth {
 public:
  /// `open_to_all`: everybody is the administrator (`--auth off`); a job's token keeps its meaning.
  static Result<std::unique_ptr<Auth>> open(db::Database& db, bool open_to_all);

  /// Errors: `unauthenticated` — no token, or an unknown, expired or revoked one.
  Result<http::Principal> authenticate(const std::optional<http::Credentials>& credentials) const;

  /// Makes the first administrator ("admin") when there is no user yet, and returns their new token; else nullopt.
  Result<std::optional<std::string>> first_start();

  /// Whether jobs of several users can be kept apart, or why not; set before requests come. None: they can.
  std::function<Result<void>()> jobs_are_apart;

  /// Errors: `conflict` — the name is taken, or a second user where jobs cannot be kept apart; `invalid` — bad name or role.
  Result<User> create_user(const std::string& name, const std::string& role, const std::string& actor);
  Result<std::vector<User>> users() const;
  bool has_several_users() const { return users_ > 1; }
  /// Takes the user's tokens along. Errors: `not_found`; `conflict` — the last administrator.
  Result<void> delete_user(const std::string& name, const std::string& actor);

  /// Errors: `not_found`; `invalid` — no such role; `conflict` — the last administrator.
  Result<void> set_role(const std::string& name, const std::string& role, const std::string& actor);

  /// For clients that know users and passwords only (MLflow's): the user comes in with this password too, by HTTP Basic
  /// under their own name. It takes the place of an earlier one, and is listed and revoked like a token.
  /// Errors: `not_found`; `invalid` — fewer than 12 characters.
  Result<void> set_password(const std::string& name, const std::string& password, const std::string& actor);
  static Result<void> check_password(const std::string& password);

  Result<Token> create_token(const std::string& user, const std::string& name,
                             std::optional<std::chrono::seconds> lifetime, const std::string& actor);
  /// Of one user, or of all. Jobs' tokens are not listed.
  Result<std::vector<Token>> tokens(const std::optional<std::string>& user) const;
  /// Errors: `not_found`, also for a token of another user when `only_user` is set.
  Result<void> revoke_token(const std::string& id, const std::optional<std::string>& only_user, const std::string& actor);

  /// A token for a job, good for writing `run` as `user` until revoked; to be used inside the caller's transaction. It
  /// is known at once, also before the commit. Errors: `not_found` — no such user.
  Result<std::string> issue_job_token(db::Connection& c, const std::string& user, const std::string& run);
  Result<void> revoke_job_token(db::Connection& c, const std::string& run);

  /// The number that a user's jobs run as: a base plus this. Errors: `not_found`.
  Result<std::int64_t> user_id(const std::string& user) const;

 private:
  struct Known {
    http::Principal principal;
    std::optional<Time> expires;
  };
  Auth(db::Database& db, bool open_to_all) : db_(db), open_to_all_(open_to_all) {}
  Result<void> reload();
  std::optional<http::Principal> by_hash(const std::string& hash) const;

  db::Database& db_;
  bool open_to_all_;
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, Known> by_hash_;
  std::atomic<std::int64_t> users_ = 0;
  std::unordered_set<std::string> with_password_;  ///< names of users
  mutable PasswordChecks checks_;
};

/// A line of the audit: who did what to what.
Result<void> note(db::Connection& c, const std::string& actor, std::string_view action, const std::string& target);

/// GET /api/v1/me and the routes of users and tokens.
void add_routes(http::Router& router, Auth& auth);
/// MLflow's users and permissions; add_routes adds them.
void add_mlflow_routes(http::Router& router, Auth& auth);

}  // namespace lathe::auth

namespace lathe::json {

template <>
struct Fields<auth::User> {
  static constexpr std::string_view name = "User";
  static constexpr auto list =
      std::tuple{field("name", &auth::User::name), field("role", &auth::User::role, "administrator, member or viewer"),
                 field("created_by", &auth::User::created_by), field("created_at", &auth::User::created_at),
                 field("token", &auth::User::token, "shown once, when the user is made")};
};

template <>
struct Fields<auth::Token> {
  static constexpr std::string_view name = "Token";
  static constexpr auto list =
      std::tuple{field("id", &auth::Token::id), field("user", &auth::Token::user),
                 field("name", &auth::Token::name, "what it is for"), field("created_by", &auth::Token::created_by),
                 field("created_at", &auth::Token::created_at), field("expires_at", &auth::Token::expires_at, "absent: never"),
                 field("token", &auth::Token::token, "shown once, when the token is made")};
};

}  // namespace lathe::json
