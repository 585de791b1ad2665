#include <fmt/format.h>

#include "mlflow/places.h"
#include "mlflow/table.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

struct Named {
  std::string name;
  std::int64_t version = 0;
};

Result<Named> named(const Message& fields) {
  Named out;
  LATHE_TRY(out.name, fields.need("name"));
  if (!fields.has("version")) LATHE_CHECK(fields.need("version"));
  LATHE_TRY(const auto version, fields.integer("version"));
  out.version = *version;
  return out;
}

Result<json::Object> version_answer(db::Connection& c, const Named& named) {
  LATHE_TRY(const auto version, registry::find_version(c, named.name, named.version));
  return json::Object{{"model_version", to_wire(version)}};
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  registry::VersionSpec spec;
  LATHE_TRY(spec.name, asked.fields.need("name"));
  LATHE_TRY(spec.source, asked.fields.need("source"));
  LATHE_TRY(const auto run_id, asked.fields.text("run_id"));
  LATHE_TRY(spec.run_link, asked.fields.text("run_link"));
  LATHE_TRY(spec.description, asked.fields.text("description"));
  LATHE_TRY(spec.model_id, asked.fields.text("model_id"));
  LATHE_TRY(auto tags, asked.fields.pairs("tags"));
  for (auto& tag : tags) spec.tags.push_back({std::move(tag.key), std::move(tag.value)});
  LATHE_TRY(auto source, resolve_source(c, asked.who(), spec.source, run_id));
  spec.artifact_uri = std::move(source.artifact_uri);
  spec.run_id = std::move(source.run_id);
  if (spec.model_id.empty())
    spec.model_id = std::move(source.model_id);
  else
    LATHE_CHECK(tracking::writable_logged_model(c, asked.who(), spec.model_id));
  spec.created_by = asked.who().user;
  LATHE_TRY(const auto version, registry::create_version(c, spec, asked.now));
  return json::Object{{"model_version", to_wire(version)}};
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  return version_answer(c, which);
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  registry::Search search;
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.limit, limit_of(asked.fields, 10'000));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, registry::search_versions(c, search));
  json::Array versions;
  for (const auto& version : page.items) versions.push_back(to_wire(version));
  json::Object out;
  if (!versions.empty()) out["model_versions"] = std::move(versions);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

Result<json::Object> update(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto description, asked.fields.text("description"));
  LATHE_CHECK(registry::describe_version(c, which.name, which.version, description, asked.now));
  return version_answer(c, which);
}

Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_CHECK(registry::delete_version(c, which.name, which.version, asked.now));
  return json::Object{};
}

Result<json::Object> transition(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto stage, asked.fields.need("stage"));
  LATHE_TRY(const bool archive, asked.fields.flag("archive_existing_versions"));
  LATHE_CHECK(registry::move_to_stage(c, which.name, which.version, stage, archive, asked.now));
  return version_answer(c, which);
}

Result<json::Object> download_uri(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto version, registry::find_version(c, which.name, which.version));
  return json::Object{{"artifact_uri", version.artifact_uri}};
}

Result<json::Object> set_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(auto key, asked.fields.need("key"));
  LATHE_TRY(auto value, asked.fields.text("value"));
  LATHE_CHECK(registry::set_version_tag(c, which.name, which.version, {std::move(key), std::move(value)}, asked.now));
  return json::Object{};
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto which, named(asked.fields));
  LATHE_TRY(const auto key, asked.fields.need("key"));
  LATHE_CHECK(registry::delete_version_tag(c, which.name, which.version, key, asked.now));
  return json::Object{};
}

}  // namespace

void add_model_version_routes(Table& table) {
  table.write("version_create", Method::post, "/mlflow/model-versions/create", Right::track,
              "Register a model's files as its next version.", create);
  table.read("version_get", Method::get, "/mlflow/model-versions/get", "One version.", get);
  table.read("version_search", Method::get, "/mlflow/model-versions/search", "Versions that match a filter.", search);
  table.write("version_update", Method::patch, "/mlflow/model-versions/update", Right::write,
              "Change a version's description.", update);
  table.write("version_delete", Method::del, "/mlflow/model-versions/delete", Right::write,
              "Remove a version; its files stay.", remove);
  table.write("version_transition", Method::post, "/mlflow/model-versions/transition-stage", Right::write,
              "Move a version to another stage.", transition);
  table.read("version_download_uri", Method::get, "/mlflow/model-versions/get-download-uri",
             "Where a version's files are.", download_uri);
  table.write("version_set_tag", Method::post, "/mlflow/model-versions/set-tag", Right::write, "Set a tag.", set_tag);
  table.write("version_delete_tag", Method::del, "/mlflow/model-versions/delete-tag", Right::write, "Remove a tag.",
              delete_tag);
}

}  // namespace lathe::mlflow
