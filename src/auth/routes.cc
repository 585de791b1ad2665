#include "auth/auth.h"
#include "base/machine.h"

namespace lathe::auth {

struct Me {
  std::string user;
  std::string role;
  std::optional<std::string> run;
  std::string machine;
};

struct NewUser {
  std::string name;
  std::optional<std::string> role;
};

struct NewToken {
  std::optional<std::string> name;
  std::optional<std::string> user;
  std::optional<std::string> expires_in;
};

struct UserList {
  std::vector<User> value;
};

struct TokenList {
  std::vector<Token> value;
};

}  // namespace lathe::auth

namespace lathe::json {

template <>
struct Fields<auth::Me> {
  static constexpr std::string_view name = "Me";
  static constexpr auto list = std::tuple{
      field("user", &auth::Me::user), field("role", &auth::Me::role), field("run", &auth::Me::run, "set for a job's own token"),
      field("machine", &auth::Me::machine, "equal to a program's own where it sees the same files as the server")};
};
template <>
struct Fields<auth::NewUser> {
  static constexpr std::string_view name = "NewUser";
  static constexpr auto list = std::tuple{field("name", &auth::NewUser::name),
                                          field("role", &auth::NewUser::role, "administrator, member (default) or viewer")};
};
template <>
struct Fields<auth::NewToken> {
  static constexpr std::string_view name = "NewToken";
  static constexpr auto list =
      std::tuple{field("name", &auth::NewToken::name, "what it is for"),
                 field("user", &auth::NewToken::user, "whose; absent: the caller's. For another's, an administrator is needed"),
                 field("expires_in", &auth::NewToken::expires_in, "such as 30d; absent: never")};
};
template <>
struct Fields<auth::UserList> {
  static constexpr std::string_view name = "UserList";
  static constexpr auto list = std::tuple{field("value", &auth::UserList::value)};
};
template <>
struct Fields<auth::TokenList> {
  static constexpr std::string_view name = "TokenList";
  static constexpr auto list = std::tuple{field("value", &auth::TokenList::value)};
};

}  // namespace lathe::json

namespace lathe::auth {
namespace {

using http::Call;
using http::Method;
using http::Right;

std::string role_name(http::Role role) {
  switch (role) {
    case http::Role::administrator: return "administrator";
    case http::Role::member: return "member";
    case http::Role::viewer: return "viewer";
  }
  return "viewer";
}

Result<Token> create_token(Auth& auth, const Call& call) {
  LATHE_TRY(const auto asked, call.body_as<NewToken>());
  const auto user = asked.user.value_or(call.principal.user);
  if (user != call.principal.user && !call.principal.is_administrator())
    return fail(Code::forbidden, "only an administrator makes tokens for others");
  std::optional<std::chrono::seconds> lifetime;
  if (asked.expires_in) {
    auto parsed = parse_duration(*asked.expires_in);
    if (!parsed) return fail_in("expires_in", parsed.error());
    lifetime = *parsed;
  }
  return auth.create_token(user, asked.name.value_or(""), lifetime, call.principal.user);
}

}  // namespace

void add_routes(http::Router& router, Auth& auth) {
  add_mlflow_routes(router, auth);
  router.add_json({.id = "me", .method = Method::get, .path = "/api/v1/me", .right = Right::read, .summary = "Who the caller is.", .jobs = true},
                  [machine = machine_id()](const Call& call) -> Result<Me> {
                    return Me{call.principal.user, role_name(call.principal.role), call.principal.run, machine};
                  });

  router.add_json({.id = "user_list", .method = Method::get, .path = "/api/v1/users", .right = Right::administer, .summary = "All users."},
                  [&](const Call&) -> Result<UserList> {
                    LATHE_TRY(auto users, auth.users());
                    return UserList{std::move(users)};
                  });
  router.add_json({.id = "user_create", .method = Method::post, .path = "/api/v1/users", .right = Right::administer,
                   .summary = "Add a user; the answer holds the user's first token.", .body_schema = http::schema_of<NewUser>},
                  [&](const Call& call) -> Result<User> {
                    LATHE_TRY(const auto asked, call.body_as<NewUser>());
                    return auth.create_user(asked.name, asked.role.value_or("member"), call.principal.user);
                  },
                  201);
  router.add_json({.id = "user_delete", .method = Method::del, .path = "/api/v1/users/{name}", .right = Right::administer,
                   .summary = "Remove a user and the user's tokens. What the user made stays."},
                  [&](const Call& call) -> Result<void> {
                    return auth.delete_user(std::string(call.param("name")), call.principal.user);
                  });

  router.add_json({.id = "token_list", .method = Method::get, .path = "/api/v1/tokens", .right = Right::read,
                   .summary = "The caller's tokens; with all=true, for an administrator, everybody's."},
                  [&](const Call& call) -> Result<TokenList> {
                    const bool all = call.query("all") == "true" && call.principal.is_administrator();
                    LATHE_TRY(auto tokens, auth.tokens(all ? std::nullopt : std::optional{call.principal.user}));
                    return TokenList{std::move(tokens)};
                  });
  router.add_json({.id = "token_create", .method = Method::post, .path = "/api/v1/tokens", .right = Right::read,
                   .summary = "Make a token; it is shown in this answer only.", .body_schema = http::schema_of<NewToken>},
                  [&](const Call& call) { return create_token(auth, call); }, 201);
  router.add_json({.id = "token_revoke", .method = Method::del, .path = "/api/v1/tokens/{id}", .right = Right::read,
                   .summary = "Make a token worthless."},
                  [&](const Call& call) -> Result<void> {
                    const auto only = call.principal.is_administrator() ? std::nullopt : std::optional{call.principal.user};
                    return auth.revoke_token(std::string(call.param("id")), only, call.principal.user);
                  });
}

}  // namespace lathe::auth
