#include <fmt/format.h>

#include "mlflow/table.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

Result<json::Object> model_answer(db::Connection& c, const std::string& name) {
  LATHE_TRY(const auto model, registry::find_model(c, name));
  LATHE_TRY(const auto latest, registry::latest_versions(c, name, {}));
  return json::Object{{"registered_model", to_wire(model, latest)}};
}

Result<std::vector<registry::Tag>> tags_of_model(const Message& fields) {
  LATHE_TRY(auto pairs, fields.pairs("tags"));
  std::vector<registry::Tag> out;
  for (auto& pair : pairs) out.push_back({std::move(pair.key), std::move(pair.value)});
  return out;
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto tags, tags_of_model(asked.fields));
  LATHE_TRY(const auto description, asked.fields.text("description"));
  LATHE_TRY(const auto rebuilt, rebuilt_by(c, asked.who()));
  LATHE_TRY(const bool exists, registry::model_exists(c, name));
  if (rebuilt && !exists)
    return fail(Code::forbidden, fmt::format("this job rebuilds {} and registers nothing, and there is no model \"{}\"", *rebuilt, name));
  LATHE_CHECK(registry::create_model(c, name, description, tags, asked.who().user, asked.now));
  return model_answer(c, name);
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  return model_answer(c, name);
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  registry::Search search;
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.limit, limit_of(asked.fields, search.limit));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, registry::search_models(c, search));
  json::Array models;
  for (const auto& model : page.items) {
    LATHE_TRY(const auto latest, registry::latest_versions(c, model.name, {}));
    models.push_back(to_wire(model, latest));
  }
  json::Object out;
  if (!models.empty()) out["registered_models"] = std::move(models);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

Result<json::Object> rename(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto new_name, asked.fields.need("new_name"));
  LATHE_CHECK(registry::rename_model(c, name, new_name, asked.now));
  return model_answer(c, new_name);
}

Result<json::Object> update(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto description, asked.fields.text("description"));
  LATHE_CHECK(registry::describe_model(c, name, description, asked.now));
  return model_answer(c, name);
}

Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_CHECK(registry::delete_model(c, name));
  return json::Object{};
}

Result<json::Object> latest(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto stages, asked.fields.texts("stages"));
  LATHE_TRY(const auto found, registry::latest_versions(c, name, stages));
  json::Array versions;
  for (const auto& version : found) versions.push_back(to_wire(version));
  json::Object out;
  if (!versions.empty()) out["model_versions"] = std::move(versions);
  return out;
}

Result<json::Object> set_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(auto key, asked.fields.need("key"));
  LATHE_TRY(auto value, asked.fields.text("value"));
  LATHE_CHECK(registry::set_model_tag(c, name, {std::move(key), std::move(value)}));
  return json::Object{};
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto key, asked.fields.need("key"));
  LATHE_CHECK(registry::delete_model_tag(c, name, key));
  return json::Object{};
}

Result<json::Object> set_alias(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto alias, asked.fields.need("alias"));
  LATHE_TRY(const auto version, version_of(asked.fields));
  LATHE_CHECK(registry::set_alias(c, name, alias, version));
  return json::Object{};
}

Result<json::Object> delete_alias(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto alias, asked.fields.need("alias"));
  LATHE_CHECK(registry::delete_alias(c, name, alias));
  return json::Object{};
}

Result<json::Object> get_alias(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto alias, asked.fields.need("alias"));
  LATHE_TRY(const auto version, registry::find_version_by_alias(c, name, alias));
  return json::Object{{"model_version", to_wire(version)}};
}

}  // namespace

void add_registered_model_routes(Table& table) {
  // A job registers models from its own runs: it may make the name, and versions of it (model_versions.cc), no more.
  table.write("model_create", Method::post, "/mlflow/registered-models/create", Right::track,
              "Make a registered model.", create);
  table.read("model_get", Method::get, "/mlflow/registered-models/get", "One registered model.", get);
  table.read("model_search", Method::get, "/mlflow/registered-models/search", "Registered models that match a filter.",
             search);
  table.write("model_rename", Method::post, "/mlflow/registered-models/rename", Right::write,
              "Rename a model with its versions.", rename);
  table.write("model_update", Method::patch, "/mlflow/registered-models/update", Right::write,
              "Change a model's description.", update);
  table.write("model_delete", Method::del, "/mlflow/registered-models/delete", Right::write,
              "Remove a model with its versions.", remove);
  for (const auto method : {Method::get, Method::post})
    table.read("model_latest", method, "/mlflow/registered-models/get-latest-versions",
               "The newest version of each stage.", latest);
  table.write("model_set_tag", Method::post, "/mlflow/registered-models/set-tag", Right::write, "Set a tag.", set_tag);
  table.write("model_delete_tag", Method::del, "/mlflow/registered-models/delete-tag", Right::write, "Remove a tag.",
              delete_tag);
  table.write("model_set_alias", Method::post, "/mlflow/registered-models/alias", Right::write,
              "Let an alias name a version.", set_alias);
  table.write("model_delete_alias", Method::del, "/mlflow/registered-models/alias", Right::write, "Remove an alias.",
              delete_alias);
  table.read("model_get_alias", Method::get, "/mlflow/registered-models/alias", "The version that an alias names.",
             get_alias);
}

}  // namespace lathe::mlflow
