// The users and permissions of MLflow's basic-auth app, over Lathe's own users and roles
// (docs/decisions/mlflow-permissions.md).
#include <fmt/format.h>

#include "auth/auth.h"

namespace lathe::auth {
namespace {

using http::Call;
using http::Method;
using http::Right;

constexpr std::string_view kMissing = "Missing value for required parameter '{}'. See the API docs for more information about request parameters.";

/// A field of the body, or for GET of the query.
Result<std::string> field(const Call& call, std::string_view name) {
  if (call.method == Method::get) {
    const auto value = call.query(name).value_or("");
    if (value.empty()) return fail(Code::invalid, fmt::format(fmt::runtime(kMissing), name));
    return value;
  }
  LATHE_TRY(const auto body, call.json_body());
  LATHE_TRY(const auto value, json::get_string(body, name));
  if (!value || value->empty()) return fail(Code::invalid, fmt::format(fmt::runtime(kMissing), name));
  return *value;
}

/// What a role may do with every experiment and model.
std::string permission_of(const std::string& role) { return role == "viewer" ? "READ" : "MANAGE"; }

Result<User> find(const Auth& auth, const std::string& name) {
  LATHE_TRY(const auto users, auth.users());
  for (const auto& user : users)
    if (user.name == name) return user;
  return fail(Code::not_found, fmt::format("User with username={} not found", name));
}

Result<json::Object> wire(const Auth& auth, const User& user) {
  LATHE_TRY(const auto id, auth.user_id(user.name));
  return json::Object{{"id", id},
                      {"username", user.name},
                      {"is_admin", user.role == "administrator"},
                      {"experiment_permissions", json::Array{}},
                      {"registered_model_permissions", json::Array{}},
                      {"scorer_permissions", json::Array{}}};
}

Result<void> check_self(const Call& call, const std::string& name) {
  if (call.principal.is_administrator() || (name == call.principal.user && !call.principal.run)) return {};
  return fail(Code::forbidden, "only an administrator may do that for another user");
}

Result<json::Object> create(Auth& auth, const Call& call) {
  LATHE_TRY(const auto name, field(call, "username"));
  LATHE_TRY(const auto password, field(call, "password"));
  LATHE_CHECK(Auth::check_password(password));
  LATHE_CHECK(auth.create_user(name, "member", call.principal.user));
  LATHE_CHECK(auth.set_password(name, password, call.principal.user));
  LATHE_TRY(const auto user, find(auth, name));
  LATHE_TRY(auto made, wire(auth, user));
  return json::Object{{"user", std::move(made)}};
}

Result<json::Object> get(Auth& auth, const Call& call) {
  LATHE_TRY(const auto name, field(call, "username"));
  LATHE_CHECK(check_self(call, name));
  LATHE_TRY(const auto user, find(auth, name));
  LATHE_TRY(auto found, wire(auth, user));
  return json::Object{{"user", std::move(found)}};
}

Result<json::Object> current(Auth& auth, const Call& call) {
  LATHE_TRY(const auto user, find(auth, call.principal.user));
  LATHE_TRY(auto found, wire(auth, user));
  return json::Object{{"user", std::move(found)}};
}

Result<json::Object> list(Auth& auth, const Call&) {
  LATHE_TRY(const auto users, auth.users());
  json::Array out;
  for (const auto& user : users) {
    LATHE_TRY(auto one, wire(auth, user));
    out.push_back(std::move(one));
  }
  return json::Object{{"users", std::move(out)}};
}

Result<json::Object> update_password(Auth& auth, const Call& call) {
  LATHE_TRY(const auto name, field(call, "username"));
  LATHE_TRY(const auto password, field(call, "password"));
  LATHE_CHECK(check_self(call, name));
  LATHE_CHECK(auth.set_password(name, password, call.principal.user));
  return json::Object{};
}

Result<json::Object> update_admin(Auth& auth, const Call& call) {
  LATHE_TRY(const auto name, field(call, "username"));
  LATHE_TRY(const auto body, call.json_body());
  LATHE_TRY(const auto admin, json::get_bool(body, "is_admin"));
  if (!admin) return fail(Code::invalid, fmt::format(fmt::runtime(kMissing), "is_admin"));
  LATHE_CHECK(auth.set_role(name, *admin ? "administrator" : "member", call.principal.user));
  return json::Object{};
}

Result<json::Object> remove(Auth& auth, const Call& call) {
  LATHE_TRY(const auto name, field(call, "username"));
  LATHE_CHECK(find(auth, name));
  LATHE_CHECK(auth.delete_user(name, call.principal.user));
  return json::Object{};
}

/// Permissions follow from roles: what a role gives anyway is granted, anything else is refused plainly.
class Permissions {
 public:
  Permissions(Auth& auth, std::string_view kind, std::string_view key) : auth_(auth), kind_(kind), key_(key) {}

  Result<json::Object> get(const Call& call) const {
    LATHE_TRY(const auto object, field(call, key_));
    LATHE_TRY(const auto name, field(call, "username"));
    LATHE_CHECK(check_self(call, name));
    LATHE_TRY(const auto user, find(auth_, name));
    return answer(object, user);
  }

  Result<json::Object> set(const Call& call) const {
    LATHE_TRY(const auto object, field(call, key_));
    LATHE_TRY(const auto name, field(call, "username"));
    LATHE_TRY(const auto permission, field(call, "permission"));
    if (permission != "READ" && permission != "EDIT" && permission != "MANAGE" && permission != "NO_PERMISSIONS")
      return fail(Code::invalid, fmt::format("Invalid permission '{}'. Valid permissions are: ('READ', 'EDIT', 'MANAGE', "
                                             "'NO_PERMISSIONS')", permission.substr(0, 100)));
    LATHE_TRY(const auto user, find(auth_, name));
    const auto has = permission_of(user.role);
    if (permission == has) return answer(object, user);
    return fail(cannot(fmt::format("{} cannot have {} on one {}: as a {}, they have {} on all", name, permission, kind_, user.role, has)));
  }

  Result<json::Object> remove(const Call& call) const {
    LATHE_CHECK(field(call, key_));
    LATHE_TRY(const auto name, field(call, "username"));
    LATHE_CHECK(find(auth_, name));
    return fail(cannot(fmt::format("{}'s rights cannot be taken away for one {}", name, kind_)));
  }

 private:
  static Error cannot(const std::string& what) {
    return {Code::invalid, what + ". Here rights follow a user's role (viewer, member, administrator), for all experiments and models alike",
            "NOT_IMPLEMENTED"};
  }

  Result<json::Object> answer(const std::string& object, const User& user) const {
    LATHE_TRY(const auto id, auth_.user_id(user.name));
    json::Object permission{{"user_id", id}, {"permission", permission_of(user.role)}};
    permission[boost::json::string_view(key_.data(), key_.size())] = object;
    json::Object out;
    out[fmt::format("{}_permission", kind_)] = std::move(permission);
    return out;
  }

  Auth& auth_;
  std::string_view kind_;
  std::string_view key_;
};

}  // namespace

void add_mlflow_routes(http::Router& router, Auth& auth) {
  using Handler = std::function<Result<json::Object>(const Call&)>;
  const auto add = [&](Method method, std::string_view path, Right right, Handler handler) {
    for (const auto* root : {"/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"}) {
      http::Route route;
      route.id = "mlflow_" + std::string(path);
      route.method = method;
      route.path = fmt::format("{}/mlflow/{}", root, path);
      route.right = right;
      route.summary = "MLflow's basic-auth app, over Lathe's users.";
      route.errors = http::ErrorShape::mlflow;
      route.in_openapi = false;
      router.add(std::move(route), [handler](Call& call) -> Result<http::Response> {
        LATHE_TRY(auto answer, handler(call));
        return http::json_response(std::move(answer));
      });
    }
  };
  const auto with = [&](Result<json::Object> (*work)(Auth&, const Call&)) -> Handler {
    return [&auth, work](const Call& call) { return work(auth, call); };
  };
  add(Method::post, "users/create", Right::administer, with(create));
  add(Method::get, "users/get", Right::read, with(get));
  add(Method::get, "users/current", Right::read, with(current));
  add(Method::get, "users/list", Right::administer, with(list));
  add(Method::patch, "users/update-password", Right::read, with(update_password));
  add(Method::patch, "users/update-admin", Right::administer, with(update_admin));
  add(Method::del, "users/delete", Right::administer, with(remove));
  for (const auto& [kind, key, path] : {std::tuple{"experiment", "experiment_id", "experiments"},
                                        std::tuple{"registered_model", "name", "registered-models"}}) {
    const Permissions permissions(auth, kind, key);
    const auto place = [path = path](const char* verb) { return fmt::format("{}/permissions/{}", path, verb); };
    add(Method::get, place("get"), Right::read, [permissions](const Call& call) { return permissions.get(call); });
    add(Method::post, place("create"), Right::administer, [permissions](const Call& call) { return permissions.set(call); });
    add(Method::patch, place("update"), Right::administer, [permissions](const Call& call) { return permissions.set(call); });
    add(Method::del, place("delete"), Right::administer, [permissions](const Call& call) { return permissions.remove(call); });
  }
}

}  // namespace lathe::auth
