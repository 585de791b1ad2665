#include "auth/auth.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "auth/node_token.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/text.h"

namespace lathe::auth {
namespace {

constexpr std::size_t kTokenBytes = 24;
constexpr std::string_view kPassword = "password-";  // begins the id of a token that is a user's password
constexpr std::size_t kShortestPassword = 12;

std::optional<http::Role> role_of(std::string_view name) {
  if (name == "administrator") return http::Role::administrator;
  if (name == "member") return http::Role::member;
  if (name == "viewer") return http::Role::viewer;
  return std::nullopt;
}

std::string new_secret() { return "lathe_" + random_hex(kTokenBytes); }

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
         });
}

std::string text_of(const db::Row& row) { return row.text(0); }

Result<std::vector<std::string>> user_names(db::Connection& c) {
  return db::all(c, "SELECT name FROM account ORDER BY name", text_of);
}

Result<std::int64_t> id_of(db::Connection& c, const std::string& user) {
  LATHE_TRY(const auto id, db::first(c, "SELECT id FROM account WHERE name = $1", [](const db::Row& row) { return row.integer(0); }, user));
  if (id) return *id;
  LATHE_TRY(const auto names, user_names(c));
  return fail(Code::not_found, unknown_name("user", user, names));
}

Result<void> insert_user(db::Connection& c, const User& user, Time at) {
  LATHE_CHECK(db::run(c, "UPDATE last_account SET id = id + 1"));
  return db::run(c,
                 "INSERT INTO account (id, name, role, created_by, created_us) "
                 "SELECT id, $1, $2, $3, $4 FROM last_account",
                 user.name, user.role, user.created_by, micros(at))
      .map([](std::int64_t) {});
}

Result<void> insert_token(db::Connection& c, const Token& token, Time at, std::optional<Time> expires) {
  LATHE_TRY(const auto account, id_of(c, token.user));
  LATHE_CHECK(db::run(c,
                      "INSERT INTO token (id, account_id, hash, name, run, created_by, created_us, expires_us) "
                      "VALUES ($1, $2, $3, $4, NULL, $5, $6, $7)",
                      token.id, account, sha256_hex(*token.token), token.name, token.created_by, micros(at),
                      expires ? std::optional{micros(*expires)} : std::nullopt));
  return {};
}

/// That an administrator is left when `name` gets another role, or none.
Result<void> check_not_last(db::Connection& c, const std::string& name, std::int64_t id, std::string_view role) {
  LATHE_TRY(const auto others,
            db::first(c, "SELECT COUNT(*) FROM account WHERE role = 'administrator' AND id <> $1",
                      [](const db::Row& row) { return row.integer(0); }, id));
  if (*others > 0 || role == "administrator") return {};
  return fail(Code::conflict, fmt::format("\"{}\" is the last administrator: make another one first", name));
}

}  // namespace

Result<void> note(db::Connection& c, const std::string& actor, std::string_view action, const std::string& target) {
  LATHE_CHECK(db::run(c, "INSERT INTO audit (at_us, actor, action, target) VALUES ($1, $2, $3, $4)", micros(now()), actor, action, target));
  return {};
}

Result<std::unique_ptr<Auth>> Auth::open(db::Database& db, bool open_to_all) {
  std::unique_ptr<Auth> auth(new Auth(db, open_to_all));
  LATHE_CHECK(auth->reload());
  return auth;
}

Result<void> Auth::reload() {
  // On the writer, so that a token that a job's transaction is just making is not missed.
  return db_.write([&](db::Connection& c) -> Result<void> {
    std::unordered_map<std::string, Known> fresh;
    std::unordered_set<std::string> with_password;
    LATHE_CHECK(db::each(c,
                    "SELECT t.hash, a.id, a.name, a.role, t.run, t.expires_us, t.id FROM token t JOIN account a ON a.id = t.account_id",
                    [&](const db::Row& row) {
                      Known known;
                      known.principal = {row.integer(1), row.text(2), role_of(row.text(3)).value_or(http::Role::viewer),
                                         row.optional_text(4)};
                      if (!row.is_null(5)) known.expires = from_micros(row.integer(5));
                      if (row.text_view(6).starts_with(kPassword)) with_password.insert(row.text(2));
                      fresh.emplace(row.text(0), std::move(known));
                    }));
    LATHE_TRY(const auto users, db::first(c, "SELECT COUNT(*) FROM account", [](const db::Row& row) { return row.integer(0); }));
    users_ = users.value_or(0);
    const std::unique_lock lock(mutex_);
    by_hash_ = std::move(fresh);
    with_password_ = std::move(with_password);
    return {};
  });
}

std::optional<http::Principal> Auth::by_hash(const std::string& hash) const {
  const std::shared_lock lock(mutex_);
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end() || (found->second.expires && *found->second.expires <= now())) return std::nullopt;
  return found->second.principal;
}

Result<http::Principal> Auth::authenticate(const std::optional<http::Credentials>& credentials) const {
  if (credentials) {
    if (const auto who = by_hash(sha256_hex(credentials->token))) return *who;
    const auto may_have = [&] {
      const std::shared_lock lock(mutex_);
      return with_password_.contains(credentials->user);
    };
    if (may_have()) {
      const auto hash = checks_.hash(credentials->user, credentials->token, now());
      if (!hash) return fail(Code::unavailable, "too many passwords are being tried: try again in a second");
      if (const auto who = by_hash(*hash)) {
        checks_.remember(credentials->user, credentials->token, *hash);
        return *who;
      }
    }
  }
  if (open_to_all_) return http::Principal{1, "admin", http::Role::administrator, {}};
  if (!credentials)
    return fail(Code::unauthenticated,
                "a token is needed: send `Authorization: Bearer TOKEN` (or Basic with the token as password); `lathe token "
                "create` makes one");
  if (credentials->token.starts_with(kNodeTokenBegin))
    return fail(Code::unauthenticated,
                "this is the token of an inference node, which opens nothing else here: it belongs in the file of `lathe-infer --join "
                "URL --token-file FILE`; `lathe token create` makes one for people and programs");
  return fail(Code::unauthenticated, "this token is not known here, or was revoked or has expired: `lathe token create` makes a new one");
}

Result<std::optional<std::string>> Auth::first_start() {
  const auto secret = new_secret();
  LATHE_TRY(const bool made, db_.write([&](db::Connection& c) -> Result<bool> {
    LATHE_TRY(const auto names, user_names(c));
    if (!names.empty()) return false;
    const auto at = now();
    LATHE_CHECK(insert_user(c, {"admin", "administrator", "lathe", {}, {}}, at));
    LATHE_CHECK(insert_token(c, {random_hex(8), "admin", "made at the first start", "lathe", {}, {}, secret}, at, {}));
    return true;
  }));
  if (!made) return std::nullopt;
  LATHE_CHECK(reload());
  return secret;
}

Result<User> Auth::create_user(const std::string& name, const std::string& role, const std::string& actor) {
  if (!good_name(name))
    return fail(Code::invalid, "name: a user's name is 1 to 64 letters, digits and . _ - @, beginning with a letter or digit");
  if (!role_of(role)) return fail(Code::invalid, fmt::format("role: must be administrator, member or viewer, not \"{}\"", role));
  if (jobs_are_apart) LATHE_CHECK(jobs_are_apart());
  const auto at = now();
  const auto secret = new_secret();
  User user{name, role, actor, to_iso8601(at), secret};
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    if (auto made = insert_user(c, user, at); !made)
      return made.error().code == Code::conflict ? fail(Code::conflict, fmt::format("there is already a user named \"{}\"", name))
                                                 : fail(made.error());
    LATHE_CHECK(insert_token(c, {random_hex(8), name, "made with the user", actor, {}, {}, secret}, at, {}));
    return note(c, actor, "user_create", name);
  }));
  LATHE_CHECK(reload());
  return user;
}

Result<std::vector<User>> Auth::users() const {
  return db_.read([&](db::Connection& c) {
    return db::all(c, "SELECT name, role, created_by, created_us FROM account ORDER BY name", [](const db::Row& row) {
      return User{row.text(0), row.text(1), row.text(2), to_iso8601(from_micros(row.integer(3))), {}};
    });
  });
}

Result<void> Auth::delete_user(const std::string& name, const std::string& actor) {
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(const auto id, id_of(c, name));
    LATHE_CHECK(check_not_last(c, name, id, ""));
    LATHE_CHECK(db::run(c, "DELETE FROM token WHERE account_id = $1", id));
    LATHE_CHECK(db::run(c, "DELETE FROM account WHERE id = $1", id));
    return note(c, actor, "user_delete", name);
  }));
  return reload();
}

Result<void> Auth::set_role(const std::string& name, const std::string& role, const std::string& actor) {
  if (!role_of(role)) return fail(Code::invalid, fmt::format("role: must be administrator, member or viewer, not \"{}\"", role));
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(const auto id, id_of(c, name));
    LATHE_CHECK(check_not_last(c, name, id, role));
    LATHE_CHECK(db::run(c, "UPDATE account SET role = $2 WHERE id = $1", id, role));
    return note(c, actor, "user_role", name + "/" + role);
  }));
  return reload();
}

Result<void> Auth::check_password(const std::string& password) {
  if (password.size() >= kShortestPassword && password.size() <= 1000) return {};
  return fail(Code::invalid, fmt::format("Password must be a string of at least {} characters.", kShortestPassword));
}

Result<void> Auth::set_password(const std::string& name, const std::string& password, const std::string& actor) {
  LATHE_CHECK(check_password(password));
  const auto hash = password_hash(name, password);
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(const auto account, id_of(c, name));
    const auto id = fmt::format("{}{}", kPassword, account);
    LATHE_CHECK(db::run(c, "DELETE FROM token WHERE id = $1", id));
    LATHE_CHECK(db::run(c,
                        "INSERT INTO token (id, account_id, hash, name, run, created_by, created_us, expires_us) "
                        "VALUES ($1, $2, $3, 'password', NULL, $4, $5, NULL)",
                        id, account, hash, actor, micros(now())));
    return note(c, actor, "user_password", name);
  }));
  return reload();
}

Result<Token> Auth::create_token(const std::string& user, const std::string& name,
                                 std::optional<std::chrono::seconds> lifetime, const std::string& actor) {
  const auto at = now();
  const auto expires = lifetime ? std::optional{at + *lifetime} : std::nullopt;
  Token token{random_hex(8), user, name, actor, to_iso8601(at), expires ? std::optional{to_iso8601(*expires)} : std::nullopt,
              new_secret()};
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_CHECK(insert_token(c, token, at, expires));
    return note(c, actor, "token_create", user + "/" + token.id);
  }));
  LATHE_CHECK(reload());
  return token;
}

Result<std::vector<Token>> Auth::tokens(const std::optional<std::string>& user) const {
  return db_.read([&](db::Connection& c) {
    return db::all(c,
                   "SELECT t.id, a.name, t.name, t.created_by, t.created_us, t.expires_us FROM token t "
                   "JOIN account a ON a.id = t.account_id WHERE t.run IS NULL AND ($1 = '' OR a.name = $1) ORDER BY t.created_us",
                   [](const db::Row& row) {
                     Token token{row.text(0), row.text(1), row.text(2), row.text(3), to_iso8601(from_micros(row.integer(4))), {}, {}};
                     if (!row.is_null(5)) token.expires_at = to_iso8601(from_micros(row.integer(5)));
                     return token;
                   },
                   user.value_or(""));
  });
}

Result<void> Auth::revoke_token(const std::string& id, const std::optional<std::string>& only_user, const std::string& actor) {
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(const auto gone,
              db::run(c,
                      "DELETE FROM token WHERE id = $1 AND run IS NULL AND ($2 = '' OR account_id IN "
                      "(SELECT id FROM account WHERE name = $2))",
                      id, only_user.value_or("")));
    if (gone == 0) return fail(Code::not_found, fmt::format("no token with the id \"{}\"; `lathe token list` shows them", id));
    return note(c, actor, "token_revoke", id);
  }));
  return reload();
}

Result<std::string> Auth::issue_job_token(db::Connection& c, const std::string& user, const std::string& run) {
  struct Owner {
    std::int64_t id;
    http::Role role;
  };
  LATHE_TRY(const auto owner, db::first(c, "SELECT id, role FROM account WHERE name = $1",
                                        [](const db::Row& row) {
                                          return Owner{row.integer(0), role_of(row.text(1)).value_or(http::Role::viewer)};
                                        },
                                        user));
  if (!owner) return fail(Code::not_found, fmt::format("the user \"{}\" is no more", user));
  const auto secret = new_secret();
  const auto hash = sha256_hex(secret);
  LATHE_CHECK(db::run(c,
                      "INSERT INTO token (id, account_id, hash, name, run, created_by, created_us, expires_us) "
                      "VALUES ($1, $2, $3, 'a job''s own', $4, $5, $6, NULL)",
                      random_hex(8), owner->id, hash, run, user, micros(now())));
  const std::unique_lock lock(mutex_);
  by_hash_.insert_or_assign(hash, Known{{owner->id, user, owner->role, run}, std::nullopt});
  return secret;
}

Result<void> Auth::revoke_job_token(db::Connection& c, const std::string& run) {
  LATHE_TRY(const auto hashes, db::all(c, "SELECT hash FROM token WHERE run = $1", text_of, run));
  LATHE_CHECK(db::run(c, "DELETE FROM token WHERE run = $1", run));
  const std::unique_lock lock(mutex_);
  for (const auto& hash : hashes) by_hash_.erase(hash);
  return {};
}

Result<std::int64_t> Auth::user_id(const std::string& user) const {
  return db_.read([&](db::Connection& c) { return id_of(c, user); });
}

}  // namespace lathe::auth
